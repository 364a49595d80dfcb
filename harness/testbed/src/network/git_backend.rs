//! `git http-backend` as a CGI program (RFC 3875), bodies streamed both ways.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
};

use coldproof_machines::mark::Mark;
use futures::TryStreamExt;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE},
    http::response,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStderr, ChildStdout, Command},
};
use tokio_util::io::{ReaderStream, StreamReader};

use super::git_path::{Repository, Service};

/// A response body that may be produced while it is sent.
pub(crate) type Body = BoxBody<Bytes, io::Error>;

/// More header than http-backend has ever sent.
const HEADER_LIMIT: u64 = 16 * 1024;

/// The program, found once.
#[derive(Clone, Debug)]
pub(crate) struct GitBackend {
    program: PathBuf,
    mark: Mark,
}

impl GitBackend {
    /// Finds the program where git says that its own programs are.
    ///
    /// # Errors
    /// When git is not installed.
    pub(crate) async fn find(mark: &Mark) -> io::Result<Self> {
        let mut git = Command::new("git");
        mark.put_on(git.arg("--exec-path").as_std_mut());
        let output = git.output().await?;
        let dir = String::from_utf8_lossy(&output.stdout);
        let program = Path::new(dir.trim()).join("git-http-backend");
        if program.is_file() {
            Ok(Self { program, mark: mark.clone() })
        } else {
            let program = program.display();
            Err(io::Error::other(format!("{program} is missing, without which git cannot be served; install git")))
        }
    }

    /// Answers one request for `service` of `repository`.
    ///
    /// # Errors
    /// When the program cannot be started or does not answer as CGI programs do.
    pub(crate) async fn answer(
        &self,
        repository: &Repository,
        service: Service,
        request: Request<Incoming>,
    ) -> io::Result<Response<Body>> {
        let mut child = self.command(repository, service, &request).spawn()?;
        let piped = || io::Error::other("git http-backend was started without its pipes");
        let mut stdin = child.stdin.take().ok_or_else(piped)?;
        let stdout = child.stdout.take().ok_or_else(piped)?;
        let stderr = child.stderr.take().ok_or_else(piped)?;
        tokio::spawn(async move {
            let body = request.into_body().into_data_stream();
            let mut body = StreamReader::new(body.map_err(io::Error::other));
            // A program that has read enough closes its end: no error. Ours is closed by being dropped.
            let _ = tokio::io::copy(&mut body, &mut stdin).await;
        });
        tokio::spawn(finish(child, stderr));
        respond(BufReader::new(stdout)).await
    }

    fn command(&self, repository: &Repository, service: Service, request: &Request<Incoming>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("GIT_PROJECT_ROOT", &repository.git_dir)
            .env("PATH_INFO", service.suffix())
            // Who may read what was decided before: http-backend need not ask for its marker again.
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REQUEST_METHOD", request.method().as_str())
            .env("QUERY_STRING", request.uri().query().unwrap_or_default())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            // Named in the host definition on purpose, whoever owns it.
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C");
        // Without a length (a chunked body) http-backend reads until the end.
        for (header, variable) in [
            (CONTENT_TYPE.as_str(), "CONTENT_TYPE"),
            (CONTENT_LENGTH.as_str(), "CONTENT_LENGTH"),
            (CONTENT_ENCODING.as_str(), "HTTP_CONTENT_ENCODING"),
            ("git-protocol", "GIT_PROTOCOL"),
        ] {
            let value = request.headers().get(header);
            command.envs(value.and_then(|value| Some((variable, value.to_str().ok()?))));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        self.mark.put_on(command.as_std_mut());
        command
    }
}

/// Waits for the program, so that it leaves no zombie, and passes on what it complained about.
async fn finish(mut child: Child, stderr: ChildStderr) {
    let mut complaint = Vec::new();
    let _ = stderr.take(HEADER_LIMIT).read_to_end(&mut complaint).await;
    let status = child.wait().await;
    if !complaint.is_empty() {
        let complaint = String::from_utf8_lossy(&complaint);
        tracing::warn!(?status, %complaint, "git http-backend complained");
    }
}

async fn respond(mut stdout: BufReader<ChildStdout>) -> io::Result<Response<Body>> {
    let mut response = Response::builder();
    let mut left = HEADER_LIMIT;
    loop {
        let mut line = String::new();
        let read = (&mut stdout).take(left).read_line(&mut line).await?;
        left -= read as u64;
        if !line.ends_with('\n') {
            return Err(io::Error::other("git http-backend ended within its header or sent one without end"));
        }
        match line.trim_end() {
            "" => break,
            line => response = with_header(response, line)?,
        }
    }
    let body = ReaderStream::new(stdout).map_ok(Frame::data);
    response.body(BodyExt::boxed(StreamBody::new(body))).map_err(io::Error::other)
}

fn with_header(response: response::Builder, line: &str) -> io::Result<response::Builder> {
    let malformed = || io::Error::other(format!("git http-backend sent `{line}` as a header"));
    let (name, value) = line.split_once(':').ok_or_else(malformed)?;
    let value = value.trim();
    if name.eq_ignore_ascii_case("status") {
        let code = value.split(' ').next().unwrap_or_default();
        Ok(response.status(code))
    } else {
        Ok(response.header(name, value))
    }
}
