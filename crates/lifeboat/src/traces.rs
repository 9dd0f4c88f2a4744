//! Traces over OTLP, when the environment asks for them with OpenTelemetry's own variables.
//!
//! What is traced is one command, or one job of the daemon, and what it is made of. The source of the names is
//! OpenTelemetry's specification, "OpenTelemetry Protocol Exporter" and "Environment Variable Specification".
//!
//! # Limits
//!
//! Spans wait in memory and go out every few seconds. A collector that is away costs those spans and a warning, and a
//! command's end at most [`FINISH_WITHIN`]; nothing else waits for it or fails by it.

use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response};
use lifeboat_tiers::http::{HttpClient, Patience, Trust};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpError, ResponseExt as _};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

use crate::failure::CommandError;
use crate::surroundings::Process;

/// The variables of which one has to be set; the exporter reads them itself.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// Switches everything of OpenTelemetry off when it is `true`.
const DISABLED: &str = "OTEL_SDK_DISABLED";

/// How long the end of a command waits for a collector.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may take, and silence.
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(3), silence: Duration::from_secs(5) };

/// Who collects the spans of this process and sends them.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to collect, if the environment asks for it.
    pub fn start(process: &Process, runtime: &Handle) -> Result<Option<Self>, CommandError> {
        let is_disabled = process.text_variable(DISABLED)?.is_some_and(|it| it == "true");
        let Some(name) = ENDPOINTS.iter().find(|name| process.variable(name).is_some()) else {
            return Ok(None);
        };
        if is_disabled {
            return Ok(None);
        }
        let wrong = |error: &dyn std::fmt::Display| {
            CommandError::usage(
                format!("traces cannot be sent where {name} says: {error}"),
                format!("set {name} to an address like `http://127.0.0.1:4318`, or unset it"),
            )
        };
        let client = HttpClient::new(&Trust::System, PATIENCE).map_err(|error| wrong(&error))?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender { client, runtime: runtime.clone() })
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|error| wrong(&error))?;
        let resource = Resource::builder().with_service_name("lifeboat").build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Some(Self(provider.with_resource(resource).build())))
    }

    /// Returns the layer that turns this program's own spans into OpenTelemetry's, whatever is logged.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer: OpenTelemetryLayer<S, Tracer> =
            tracing_opentelemetry::layer().with_tracer(self.0.tracer("lifeboat"));
        layer.with_filter(Targets::new().with_target("lifeboat", LevelFilter::INFO))
    }

    /// Sends what was collected.
    pub fn finish(&self) {
        if let Err(error) = self.0.shutdown_with_timeout(FINISH_WITHIN) {
            tracing::warn!(%error, "Not all traces were sent.");
        }
    }
}

/// Sends what the exporter's own thread hands over by the client that everything else uses.
#[derive(Debug)]
struct Sender {
    client: HttpClient,
    runtime: Handle,
}

#[async_trait]
impl opentelemetry_http::HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move { client.send(request).await }).await??;
        let mut response = Response::builder().status(answer.status).body(answer.body)?;
        *response.headers_mut() = answer.headers;
        Ok(response.error_for_status()?)
    }
}
