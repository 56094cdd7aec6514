//! The time that is left, as it stands in header fields: what a client says, and what services are told.
//!
//! Milliseconds, or the form of gRPC where the field is called `grpc-timeout` (gRPC over HTTP2, "Timeout"). A client can
//! only shorten the route's time: what it says beyond that changes nothing.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::time::Instant;

use super::{Deadline, config::DeadlineConfig};
use crate::{
    error::{Code, Error},
    identity::{OURS, REQUEST_TIMEOUT},
    mistake::{Mistake, Mistakes, below},
    upstream::Fields,
};

/// `grpc-timeout`: the time left, in the form of gRPC.
pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How time is told, in both directions.
#[derive(Debug, Clone, Default)]
pub struct Budget {
    /// What a client may say, if anything.
    pub read: Option<BudgetField>,
    /// What services are told.
    pub send: BudgetField,
    /// The fields that go no further as clients sent them, besides those that never do.
    pub ours: Vec<HeaderName>,
}

/// A header field that holds a time.
#[derive(Debug, Clone)]
pub struct BudgetField {
    name: HeaderName,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Millis,
    Grpc,
}

impl Default for BudgetField {
    fn default() -> Self {
        BudgetField::new(REQUEST_TIMEOUT)
    }
}

impl Budget {
    /// What was typed at the key path `at`.
    pub(crate) fn build(config: &DeadlineConfig, at: &str, mistakes: &mut Mistakes) -> Option<Self> {
        let read = config.read.as_ref().map(|name| mistakes.keep(field(name, &below(at, "read"))));
        let send = mistakes.keep(field(&config.send, &below(at, "send")));
        let (read, send) = (read.map_or(Some(None), |read| read.map(Some))?, send?);
        let names = read.iter().chain([&send]).map(|field| field.name.clone());
        let ours = names.filter(|name| !OURS.contains(name)).collect();
        Some(Budget { read, send, ours })
    }

    /// By when a request of these fields, `begun` on a route of this `timeout`, must be answered.
    ///
    /// # Errors
    /// 400 for a time that is none, or told twice; 504 for no time at all.
    pub fn deadline(
        &self,
        begun: Instant,
        headers: &HeaderMap,
        timeout: Duration,
    ) -> Result<Deadline, Error> {
        let wanted = self.read.as_ref().map_or(Ok(None), |field| field.read(headers))?;
        match wanted {
            Some(Duration::ZERO) => Err(Error::new(Code::UpstreamTimeout, "the client gives no time")
                .detail("The time that the request gives is over.")),
            Some(wanted) if wanted < timeout => Ok(Deadline::of(begun, wanted).hurried()),
            _ => Ok(Deadline::of(begun, timeout)),
        }
    }
}

impl BudgetField {
    fn new(name: HeaderName) -> Self {
        let form = if name == GRPC_TIMEOUT { Form::Grpc } else { Form::Millis };
        BudgetField { name, form }
    }

    /// That of gRPC.
    #[must_use]
    pub fn grpc() -> Self {
        BudgetField::new(GRPC_TIMEOUT)
    }

    /// Adds the field, with the time left. At least a millisecond: zero would say that there is no limit, or none left to try
    /// with.
    pub fn stamp(&self, fields: &mut Fields, deadline: Deadline) {
        let left = u64::try_from(deadline.remaining().as_millis()).unwrap_or(u64::MAX).max(1);
        let value = match self.form {
            Form::Millis => HeaderValue::from(left),
            Form::Grpc => grpc(left),
        };
        fields.push(self.name.clone(), value);
    }

    fn read(&self, headers: &HeaderMap) -> Result<Option<Duration>, Error> {
        let mut values = headers.get_all(&self.name).iter();
        let time = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().ok().and_then(|text| self.form.parse(text)),
            (Some(_), Some(_)) => None,
        };
        time.map(Some).ok_or_else(|| self.refusal())
    }

    fn refusal(&self) -> Error {
        let expected = match self.form {
            Form::Millis => "a whole number of milliseconds",
            Form::Grpc => "1 to 8 digits and one of H, M, S, m, u and n",
        };
        Error::new(Code::BadRequest, format!("{} is no time, or is there twice", self.name))
            .detail(format!("`{}` must be given once at most: {expected}.", self.name))
    }
}

impl Form {
    fn parse(self, text: &str) -> Option<Duration> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain) // Rust would also read `+5`
        };
        if self == Form::Millis {
            return number(text).map(Duration::from_millis);
        }
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let number = number(digits).filter(|_| digits.len() <= 8)?;
        match unit {
            "H" => Some(Duration::from_secs(number * 3_600)),
            "M" => Some(Duration::from_secs(number * 60)),
            "S" => Some(Duration::from_secs(number)),
            "m" => Some(Duration::from_millis(number)),
            "u" => Some(Duration::from_micros(number)),
            "n" => Some(Duration::from_nanos(number)),
            _ => None,
        }
    }
}

/// Milliseconds, or seconds where those have more than eight digits. A year, the longest time that can be typed, fits.
fn grpc(millis: u64) -> HeaderValue {
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis / 1_000) };
    HeaderValue::try_from(text).expect("digits and a letter")
}

/// The field called `name`, typed at the key path `at`.
fn field(name: &str, at: &str) -> Result<BudgetField, Mistake> {
    let wrong = |why: &str| {
        Mistake::new(at, format!("`{name}` {why}")).expected("like `x-request-timeout-ms` or `grpc-timeout`")
    };
    let parsed: HeaderName = name.parse().map_err(|_invalid| wrong("is no header field"))?;
    if name.contains('_') {
        return Err(wrong("is another field to some servers, and the same as with `-` to others"));
    }
    if is_taken(&parsed) {
        return Err(wrong("means something else already"));
    }
    // The usual ones are kept as constants: workers would share a count of the copies of any other.
    let usual = [REQUEST_TIMEOUT, GRPC_TIMEOUT].into_iter().find(|usual| *usual == parsed);
    Ok(BudgetField::new(usual.unwrap_or(parsed)))
}

/// Whether a field has a meaning of its own: for connections and messages (RFC 9110), or from the gateway to services.
pub(crate) fn is_taken(name: &HeaderName) -> bool {
    const TAKEN: [HeaderName; 26] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::FORWARDED,
        header::HOST,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::ORIGIN,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::USER_AGENT,
        header::VIA,
        crate::observability::trace::TRACEPARENT,
        crate::observability::trace::TRACESTATE,
    ];
    let ours = *name != REQUEST_TIMEOUT && OURS.contains(name);
    let taken = ["keep-alive", "proxy-connection", "idempotency-key"].contains(&name.as_str());
    ours || taken || TAKEN.contains(name) || name.as_str().starts_with("x-forwarded-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(read: &str, send: &str) -> Result<Budget, String> {
        let config = DeadlineConfig { read: Some(read.to_owned()), send: send.to_owned() };
        let mut mistakes = Mistakes::default();
        let budget = Budget::build(&config, "deadline", &mut mistakes);
        budget.ok_or_else(|| mistakes.0.iter().map(|mistake| format!("{}\n", mistake.message)).collect())
    }

    fn of(name: &'static str, values: &[&str]) -> Result<u128, u16> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let begun = Instant::now();
        let budget = budget(name, "x-request-timeout-ms").unwrap();
        let deadline = budget.deadline(begun, &headers, Duration::from_secs(2));
        let time = deadline.map(|deadline| (deadline.at() - begun, deadline.is_hurried()));
        time.map(|(time, hurried)| {
            assert_eq!(hurried, time < Duration::from_secs(2));
            time.as_micros()
        })
        .map_err(|error| error.status().as_u16())
    }

    #[test]
    fn a_client_can_shorten_the_routes_time_and_never_lengthen_it() {
        let name = "x-budget-ms";
        assert_eq!((of(name, &[]), of(name, &["250"])), (Ok(2_000_000), Ok(250_000)));
        assert_eq!(
            (of(name, &["2001"]), of(name, &["18446744073709551615"])),
            (Ok(2_000_000), Ok(2_000_000))
        );
        assert_eq!(of(name, &["0"]), Err(504));
        for wrong in ["", " ", "+5", "-5", "5ms", "1.5", "0x5", "18446744073709551616", "5, 5", "five"] {
            assert_eq!(of(name, &[wrong]), Err(400), "{wrong}");
        }
        assert_eq!(of(name, &["5", "5"]), Err(400));
    }

    #[test]
    fn the_form_of_grpc_is_read_where_the_field_is_called_so() {
        let name = "grpc-timeout";
        for (text, micros) in
            [("1S", 1_000_000), ("250m", 250_000), ("70u", 70), ("5000n", 5), ("99999999H", 2_000_000)]
        {
            assert_eq!(of(name, &[text]), Ok(micros), "{text}");
        }
        assert_eq!((of(name, &["1M"]), of(name, &["0n"])), (Ok(2_000_000), Err(504)));
        for wrong in ["", "S", "5", "100000000m", "5s", "-1S", "1 S", "1\u{e9}"] {
            let answer = if wrong.is_ascii() { of(name, &[wrong]) } else { Err(400) };
            assert_eq!(answer, Err(400), "{wrong}");
        }
        assert_eq!(Form::Grpc.parse("1é"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn services_are_told_in_the_fields_own_form() {
        let told = |name: &str, left: Duration| {
            let mut fields = Fields::default();
            let budget = budget("x-mine", name).unwrap();
            budget.send.stamp(&mut fields, Deadline::after(left));
            HeaderMap::from(&fields)[name].to_str().unwrap().to_owned()
        };
        let (short, long) = (Duration::from_micros(10), Duration::from_secs(365 * 86_400));
        assert_eq!(told("x-request-timeout-ms", Duration::from_millis(1_500)), "1500");
        assert_eq!((told("x-budget", short), told("grpc-timeout", short)), ("1".to_owned(), "1m".to_owned()));
        assert_eq!(told("grpc-timeout", Duration::from_millis(1_500)), "1500m");
        assert_eq!(told("grpc-timeout", long), "31536000S");
    }

    #[test]
    fn fields_that_mean_something_else_are_refused() {
        for name in [
            "Host",
            "content-length",
            "authorization",
            "x-user-id",
            "traceparent",
            "x-forwarded-for",
            "a b",
            "",
        ] {
            assert!(budget(name, "x-request-timeout-ms").is_err(), "{name}");
            assert!(budget("grpc-timeout", name).is_err(), "{name}");
        }
        let same = budget("Grpc-Timeout", "grpc-timeout").unwrap();
        assert_eq!(same.ours, ["grpc-timeout", "grpc-timeout"]);
        assert!(budget("x-request-timeout-ms", "x-request-timeout-ms").unwrap().ours.is_empty());
    }
}
