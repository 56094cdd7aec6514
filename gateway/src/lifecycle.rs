//! The end of a route's life: since when it is deprecated, when it ends, and what takes its place, told with every answer.
//!
//! `Deprecation` is a date of structured fields (RFC 9745), `Sunset` one of HTTP (RFC 8594), both at midnight UTC; `Link`
//! says where more is told and what to use instead (RFC 8288, RFC 5829). After its sunset a route goes on unless it is said
//! to be gone: those who still call it break on a day that somebody chose, and are counted until then.
//! Not here: routes of several versions (`config/versions.rs`).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use crate::{
    error::{Code, Error},
    mistake::{Mistake, Mistakes, below},
    routing::Params,
    template::Template,
};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What one types under `deprecated:`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeprecatedConfig {
    /// Since when, or from when on: `2026-11-01`.
    pub since: String,
    /// When it ends, if that is known.
    #[serde(default)]
    pub sunset: Option<String>,
    /// Where people read about it.
    #[serde(default)]
    pub link: Option<String>,
    /// The path to use instead.
    #[serde(default)]
    pub successor: Option<String>,
    /// What becomes of it after its sunset.
    #[serde(default)]
    pub after_sunset: AfterSunset,
}

/// What becomes of a route after its sunset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterSunset {
    /// It answers as before, and the log warns of it when the configuration is loaded.
    #[default]
    GoesOn,
    /// It is a 410.
    Gone,
}

/// A route that is deprecated.
pub struct Lifecycle {
    fields: Vec<(HeaderName, HeaderValue)>,
    successor: Option<Template>,
    gone_at: Option<SystemTime>,
    calls: Counter,
}

impl Lifecycle {
    /// What is typed at the key path `at` of the route that `whose` names, whose path has the parameters `names`.
    pub(crate) fn build(
        typed: &DeprecatedConfig,
        names: &[Box<str>],
        whose: &str,
        at: &str,
        calls: Counter,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let said = mistakes.0.len();
        let since = day(&typed.since, "since", whose, at, mistakes);
        let sunset = typed.sunset.as_ref().map(|sunset| day(sunset, "sunset", whose, at, mistakes));
        let sunset = sunset.flatten();
        if let Some((since, sunset)) = since.zip(sunset).filter(|(since, sunset)| sunset < since) {
            let gap = since.duration_since(sunset).unwrap_or_default().as_secs() / 86_400;
            let message = format!("{whose} ends {gap} days before it is deprecated");
            mistakes.add(Mistake::new(below(at, "sunset"), message).expected("`since`, or a later day"));
        }
        if typed.after_sunset == AfterSunset::Gone && typed.sunset.is_none() {
            let message = format!("{whose} is gone after a day that nobody names");
            mistakes.add(Mistake::new(below(at, "after_sunset"), message).expected("with `sunset`"));
        }
        let mut fields = Vec::new();
        if let Some(since) = since {
            let seconds = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            fields.extend(HeaderValue::try_from(format!("@{seconds}")).ok().map(|at| (DEPRECATION, at)));
        }
        if let Some(sunset) = sunset {
            let date = HeaderValue::try_from(httpdate::fmt_http_date(sunset));
            fields.extend(date.ok().map(|date| (SUNSET, date)));
        }
        if let Some(link) = &typed.link {
            if !is_link(link) {
                let mistake = Mistake::new(below(at, "link"), format!("{whose}: `{link}` is no link"));
                mistakes.add(mistake.expected("a URL like `https://example.com/changes`"));
            }
            let relations = [Some("deprecation"), sunset.map(|_| "sunset")];
            for relation in relations.into_iter().flatten() {
                let value =
                    HeaderValue::try_from(format!("<{link}>; rel=\"{relation}\"; type=\"text/html\""));
                fields.extend(value.ok().map(|value| (header::LINK, value)));
            }
        }
        let successor = typed.successor.as_ref().and_then(|path| {
            let parsed = Template::parse(path, names, None).map_err(|(words, why)| {
                Mistake::new(below(at, "successor"), format!("{whose}: {why}")).words(words)
            });
            mistakes.keep(parsed)
        });
        let ended = sunset.is_some_and(|sunset| sunset <= SystemTime::now());
        if ended && typed.after_sunset == AfterSunset::GoesOn && mistakes.0.len() == said {
            tracing::warn!(
                "{whose} goes on although its sunset was on {}",
                typed.sunset.as_deref().unwrap_or_default()
            );
        }
        let gone_at = sunset.filter(|_| typed.after_sunset == AfterSunset::Gone);
        (mistakes.0.len() == said).then_some(Lifecycle { fields, successor, gone_at, calls })
    }

    /// Counts a call, and says what takes the place of what was asked for.
    pub(crate) fn called(&self, params: &Params) -> Option<HeaderValue> {
        self.calls.inc();
        let target = self.successor.as_ref()?.target(params, false);
        HeaderValue::try_from(format!("<{target}>; rel=\"successor-version\"")).ok()
    }

    /// Whether there is still something to ask.
    ///
    /// # Errors
    /// 410 after the sunset of what is gone then.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.gone_at {
            Some(gone_at) if gone_at <= SystemTime::now() => {
                Err(Error::new(Code::Gone, "after its sunset").detail("This version is no longer offered."))
            }
            _ => Ok(()),
        }
    }

    /// Adds what clients are told, with what [`Lifecycle::called`] has said.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, successor: Option<HeaderValue>) {
        for (name, value) in &self.fields {
            match *name {
                header::LINK => _ = headers.append(name, value.clone()), // beside those of the service
                _ => _ = headers.insert(name, value.clone()),
            }
        }
        successor.into_iter().for_each(|successor| _ = headers.append(header::LINK, successor));
    }
}

/// Midnight of a day, UTC.
fn day(text: &str, key: &str, whose: &str, at: &str, mistakes: &mut Mistakes) -> Option<SystemTime> {
    let parsed = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
    let parsed =
        parsed.filter(|day| day.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|age| age > Duration::ZERO));
    let wrong = || {
        Mistake::new(below(at, key), format!("{whose}: `{text}` is no day"))
            .expected("a day like `2026-11-01`")
    };
    mistakes.keep(parsed.ok_or_else(wrong))
}

fn is_link(text: &str) -> bool {
    let of_web = |uri: &Uri| matches!(uri.scheme_str(), Some("https" | "http"));
    text.parse::<Uri>().is_ok_and(|uri| of_web(&uri)) && !text.contains(['<', '>', '"', ' '])
}
