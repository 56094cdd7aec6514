//! The compact serialization, case by case: what RFC 7515, 7518, 7519, 7797 and 8725 say of a token's form, asked of a provider
//! with an ECDSA, an RSA and an Ed25519 key. Each case names the section that decides it.
//!
//! Not here: signatures of published test vectors (`vectors.rs`), what claims must say (`tests.rs`).

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};

use super::*;

/// A case: what it is, the section, and the token.
type Case = (&'static str, &'static str, String);

fn encoded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Both parts as they are, and the signature of that.
fn signed(signer: &Signer, head: &str, body: &str) -> String {
    let message = format!("{head}.{body}");
    format!("{message}.{}", signer.sign(message.as_bytes()))
}

/// A rightly signed token of this header.
fn under(signer: &Signer, head: &str) -> String {
    signed(signer, &encoded(head), &encoded(claims().to_string()))
}

/// A secret in place of a key (RFC 8725 section 2.1).
fn by_secret(kid: &str, secret: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
    encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

const GOOD: &str = r#"{"alg":"ES256","kid":"p"}"#;

fn of_algorithms(ec: &Signer, rsa: &Signer) -> Vec<Case> {
    let body = encoded(claims().to_string());
    let none = |alg: &str| format!("{}.{body}.", encoded(format!(r#"{{"alg":"{alg}","kid":"p"}}"#)));
    let head = |head: &str| under(ec, head);
    let public = rsa.jwk();
    vec![
        ("alg none", "RFC 8725 section 3.2", none("none")),
        ("alg None", "RFC 8725 section 3.2", none("None")),
        ("alg NONE", "RFC 8725 section 3.2", none("NONE")),
        ("alg nOnE", "RFC 8725 section 3.2", none("nOnE")),
        ("alg none and a signature", "RFC 7518 section 3.6", head(r#"{"alg":"none","kid":"p"}"#)),
        ("alg none in two parts", "RFC 7515 section 7.1", none("none").trim_end_matches('.').to_owned()),
        ("no alg", "RFC 7515 section 4.1.1", head(r#"{"kid":"p"}"#)),
        ("an empty alg", "RFC 7515 section 4.1.1", head(r#"{"alg":"","kid":"p"}"#)),
        ("alg null", "RFC 7515 section 4.1.1", head(r#"{"alg":null,"kid":"p"}"#)),
        ("alg in a list", "RFC 7515 section 4.1.1", head(r#"{"alg":["ES256"],"kid":"p"}"#)),
        ("alg in small letters", "RFC 7515 section 4.1.1", head(r#"{"alg":"es256","kid":"p"}"#)),
        ("a kind of key in place of alg", "RFC 7518 section 3.1", head(r#"{"alg":"EC","kid":"p"}"#)),
        ("ES384 by a key on P-256", "RFC 8725 section 3.1", head(r#"{"alg":"ES384","kid":"p"}"#)),
        ("EdDSA by a key on P-256", "RFC 8725 section 3.1", head(r#"{"alg":"EdDSA","kid":"p"}"#)),
        ("PS256 by a key for RS256", "RFC 8725 section 3.1", under(rsa, r#"{"alg":"PS256","kid":"r"}"#)),
        ("RS512 by a key for RS256", "RFC 8725 section 3.1", under(rsa, r#"{"alg":"RS512","kid":"r"}"#)),
        ("HS256 by a modulus", "RFC 8725 section 2.1", by_secret("r", public["n"].as_str().unwrap())),
        ("HS256 by a published key", "RFC 8725 section 2.1", by_secret("r", &public.to_string())),
        ("HS256 by nothing", "RFC 8725 section 2.1", by_secret("p", "")),
    ]
}

fn of_headers(ec: &Signer, rsa: &Signer, forger: &Signer) -> Vec<Case> {
    let head = |head: &str| under(ec, head);
    let own = forger.jwk();
    let forged = |more: &str| under(forger, &format!(r#"{{"alg":"ES256","kid":"p",{more}}}"#));
    vec![
        ("crit", "RFC 7515 section 4.1.11", head(r#"{"alg":"ES256","kid":"p","crit":["exp"],"exp":1}"#)),
        ("crit of nothing", "RFC 7515 section 4.1.11", head(r#"{"alg":"ES256","kid":"p","crit":[]}"#)),
        (
            "crit that is no list",
            "RFC 7515 section 4.1.11",
            head(r#"{"alg":"ES256","kid":"p","crit":"exp"}"#),
        ),
        ("b64", "RFC 7797 section 6", head(r#"{"alg":"ES256","kid":"p","b64":false,"crit":["b64"]}"#)),
        (
            "a payload as it is",
            "RFC 7797 section 5.2",
            signed(ec, &encoded(r#"{"alg":"ES256","kid":"p","b64":false}"#), r#"{"sub":"7"}"#),
        ),
        ("a key of one's own", "RFC 8725 section 3.10", forged(&format!(r#""jwk":{own}"#))),
        ("keys from elsewhere", "RFC 7515 section 4.1.2", forged(r#""jku":"https://evil.example/jwks""#)),
        (
            "a certificate from elsewhere",
            "RFC 7515 section 4.1.5",
            forged(r#""x5u":"https://evil.example/c""#),
        ),
        ("a certificate of one's own", "RFC 7515 section 4.1.6", forged(r#""x5c":["MIIB"]"#)),
        ("no kid", "RFC 7515 section 4.1.4", head(r#"{"alg":"EdDSA"}"#)),
        ("a kid that is a file", "RFC 8725 section 3.10", head(r#"{"alg":"ES256","kid":"../../dev/null"}"#)),
        ("a kid that is a number", "RFC 7515 section 4.1.4", head(r#"{"alg":"ES256","kid":7}"#)),
        ("somebody else's kid", "RFC 7515 section 4.1.4", under(rsa, r#"{"alg":"RS256","kid":"p"}"#)),
        ("alg twice", "RFC 7515 section 4", head(r#"{"alg":"none","alg":"ES256","kid":"p"}"#)),
        ("kid twice", "RFC 7515 section 4", head(r#"{"alg":"ES256","kid":"r","kid":"p"}"#)),
        ("a header in a list", "RFC 7515 section 4", head(r#"[{"alg":"ES256","kid":"p"}]"#)),
        ("a header and more", "RFC 7515 section 5.2", head(&format!("{GOOD}x"))),
        ("a header that ends too soon", "RFC 7515 section 5.2", head(&GOOD[..GOOD.len() - 1])),
        ("a header with a byte order mark", "RFC 7515 section 5.2", head(&format!("\u{feff}{GOOD}"))),
        (
            "another kind of token",
            "RFC 8725 section 3.11",
            head(r#"{"alg":"ES256","kid":"p","typ":"dpop+jwt"}"#),
        ),
        ("typ of JSON", "RFC 7515 section 4.1.9", head(r#"{"alg":"ES256","kid":"p","typ":"JOSE+JSON"}"#)),
    ]
}

fn of_forms(ec: &Signer) -> Vec<Case> {
    let good = under(ec, GOOD);
    let [head, body, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let text = claims().to_string();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let with = |signature: &[u8]| format!("{head}.{body}.{}", encoded(signature));
    let payload = |payload: &str| signed(ec, head, &encoded(payload));
    // Four bits of the last digit say nothing: in the right form they are 0.
    let last = signature.chars().last().unwrap();
    let other = char::from(last as u8 + 1);
    let padded = |text: &str| URL_SAFE.encode(format!("{text}{}", " ".repeat((4 - text.len() % 3) % 3)));
    let another = STANDARD_NO_PAD.encode(text.replace('7', "~~~?>>>???"));
    assert!(another.contains(['+', '/']), "{another}");
    let flattened = json!({"protected": head, "payload": body, "signature": signature}).to_string();
    vec![
        ("no signature", "RFC 7515 section 5.2", with(b"")),
        ("a signature of zeros", "RFC 7518 section 3.4", with(&[0; 64])),
        ("a signature without its last byte", "RFC 7518 section 3.4", with(&bytes[..63])),
        ("half a signature", "RFC 7518 section 3.4", with(&bytes[..32])),
        ("a signature and a byte", "RFC 7518 section 3.4", with(&[&bytes[..], &[0]].concat())),
        ("a signature twice", "RFC 7518 section 3.4", with(&[&bytes[..], &bytes].concat())),
        ("a first number of 0", "RFC 7518 section 3.4", with(&[&[0; 32], &bytes[32..]].concat())),
        ("a second number of 0", "RFC 7518 section 3.4", with(&[&bytes[..32], &[0; 32]].concat())),
        ("the numbers changed round", "RFC 7518 section 3.4", with(&[&bytes[32..], &bytes[..32]].concat())),
        ("a padded signature", "RFC 7515 section 2", format!("{good}==")),
        ("a padded header", "RFC 7515 section 2", signed(ec, &padded(GOOD), body)),
        ("a padded payload", "RFC 7515 section 2", signed(ec, head, &padded(&text))),
        ("bits left over", "RFC 4648 section 3.5", format!("{}{other}", &good[..good.len() - 1])),
        ("a digit left over", "RFC 4648 section 4", format!("{good}A")),
        ("another alphabet", "RFC 7515 section 2", signed(ec, head, &another)),
        ("a blank", "RFC 7515 section 5.2", format!("{head}. {body}.{signature}")),
        ("an escaped line break", "RFC 7515 section 2", signed(ec, head, &format!("{body}%0A"))),
        ("a dot at the end", "RFC 7515 section 7.1", format!("{good}.")),
        ("a dot at the begin", "RFC 7515 section 7.1", format!(".{good}")),
        ("two dots too many", "RFC 7516 section 9", format!("{good}..")),
        ("two dots in a row", "RFC 7515 section 7.1", format!("{head}..{signature}")),
        ("only dots", "RFC 7515 section 7.1", "..".to_owned()),
        ("no header", "RFC 7515 section 7.1", format!(".{body}.{signature}")),
        ("JSON in place of the compact form", "RFC 7515 section 7.2.2", flattened),
        ("a claim twice", "RFC 7519 section 4", payload(&text.replacen('{', r#"{"sub":"8","#, 1))),
        ("claims in a list", "RFC 7519 section 7.2", payload(&format!("[{text}]"))),
        ("claims and more", "RFC 7519 section 7.2", payload(&format!("{text}{text}"))),
        ("a text in place of claims", "RFC 7519 section 7.2", payload(r#""7""#)),
        ("no claims", "RFC 7519 section 7.2", payload("")),
    ]
}

#[tokio::test]
async fn what_is_no_compact_jws_of_a_known_key_is_refused_and_nothing_that_it_names_is_fetched() {
    let (ec, rsa, ed) = (Signer::es256("p"), Signer::rsa("r"), Signer::ed25519("e", 1));
    let publisher = Publisher::of(&[&ec, &rsa, &ed]).await;
    let provider = publisher.provider();
    let forger = Signer::es256("p");
    let cases = [of_algorithms(&ec, &rsa), of_headers(&ec, &rsa, &forger), of_forms(&ec)].concat();
    let mut taken = Vec::new();
    for (name, section, token) in &cases {
        match identify(&provider, token, 0).await {
            Ok(_) => taken.push(format!("{name}: {section}")),
            Err(error) => assert_eq!(error.code(), Code::Unauthenticated, "{name}: {section}"),
        }
    }
    assert_eq!(taken, Vec::<String>::new());
    println!("{} compact tokens refused", cases.len());

    for (name, section, head) in [
        ("as it should be", "RFC 7515 section 7.1", GOOD),
        (
            "blanks and line breaks in the header",
            "RFC 7515 section 4",
            "{ \"kid\":\"p\",\r\n \"alg\":\"ES256\" }",
        ),
        (
            "what nobody knows",
            "RFC 7515 section 4",
            r#"{"alg":"ES256","kid":"p","http://example.com/x":{"y":[1]}}"#,
        ),
        (
            "keys from elsewhere, signed by ours",
            "RFC 7515 section 4.1.2",
            r#"{"alg":"ES256","kid":"p","jku":"http://a/"}"#,
        ),
        ("its kind in small letters", "RFC 7515 section 4.1.9", r#"{"alg":"ES256","kid":"p","typ":"jwt"}"#),
    ] {
        assert!(identify(&provider, &under(&ec, head), 0).await.is_ok(), "{name}: {section}");
    }
    assert_eq!(publisher.fetches(), 1);
}
