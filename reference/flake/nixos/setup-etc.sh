# /etc/X → /etc/static/X → the store, so that one rename of /etc/static changes every file at once.
ln -sfn "$systemConfig/etc" /etc/static.new
mv -T /etc/static.new /etc/static
cp -rs --remove-destination /etc/static/* /etc/
# Links that the previous generation left, and this one has no file for.
find /etc -xtype l -lname '/etc/static/*' -delete
