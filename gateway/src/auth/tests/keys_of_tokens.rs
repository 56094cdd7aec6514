//! What tokens are signed with: a shared secret, and published keys that change, with what that costs the provider.

use super::*;

fn of_secret(value: Option<&str>, file: Option<&std::path::Path>) -> ProviderConfig {
    let mut config = config("");
    config.jwt.as_mut().unwrap().jwks = None;
    let value = value.map(|value| config::Secret(value.to_owned()));
    let algorithm = config::SecretAlgorithm::HS256;
    config.jwt.as_mut().unwrap().secret =
        Some(config::SecretConfig { value, file: file.map(ToOwned::to_owned), algorithm });
    config
}

#[tokio::test]
async fn a_shared_secret_signs_only_with_its_own_algorithm() {
    let secret = "0123456789abcdef0123456789abcdef";
    let provider = Provider::build("ftgo", &of_secret(Some(secret), None), &Around::default(), "").unwrap();
    assert!(provider.ready());
    let signed = |algorithm, kid: Option<&str>, secret: &str| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        encode(&header, &claims(), &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    for kid in [None, Some("any")] {
        assert!(identify(&provider, &signed(Algorithm::HS256, kid, secret), 0).await.is_ok());
    }
    refused(
        identify(&provider, &signed(Algorithm::HS512, None, secret), 0).await,
        "algorithm is not the key's",
    );
    refused(identify(&provider, &signed(Algorithm::HS256, None, "another"), 0).await, "signature");
    refused(identify(&provider, &Signer::rsa("r").token(&claims()), 0).await, "algorithm is not the key's");
    assert!(!format!("{:?}", provider.config).contains(secret));
}

#[tokio::test]
async fn a_secret_may_come_from_a_file_and_a_short_one_is_refused() {
    let path = std::env::temp_dir().join(format!("gateway-secret-{}", std::process::id()));
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    let provider = Provider::build("ftgo", &of_secret(None, Some(&path)), &Around::default(), "");
    std::fs::write(&path, "0123456789abcdef0123456789abcde\n").unwrap();
    let short = Provider::build("ftgo", &of_secret(None, Some(&path)), &Around::default(), "")
        .err()
        .unwrap()
        .0
        .remove(0);
    std::fs::remove_file(&path).unwrap();
    assert!(provider.is_ok());
    assert!(short.message.ends_with("has 31 bytes, and HS256 needs 32 at least"), "{}", short.message);
}

/// In real time: what is measured is the whole of the defaults.
#[tokio::test]
async fn a_new_key_works_within_five_seconds_of_its_first_token() {
    let (old, new) = (Signer::ed25519("old", 1), Signer::ed25519("new", 2));
    let publisher = Publisher::of(&[&old]).await;
    let typed = format!(r#"{{"issuer":"https://id.example","audience":"ftgo","jwks":"{}"}}"#, publisher.url);
    let jwt: config::JwtConfig = serde_json::from_str(&typed).unwrap();
    let provider = Provider::build(
        "ftgo",
        &ProviderConfig { jwt: Some(jwt), ..ProviderConfig::default() },
        &Around::default(),
        "",
    )
    .unwrap();
    assert!(identify(&provider, &old.token(&claims()), 0).await.is_ok());
    publisher.publish(&[&old, &new]);
    let (token, first_seen) = (new.token(&claims()), std::time::Instant::now());
    while identify(&provider, &token, 0).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = first_seen.elapsed();
    println!("a new key works after {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(publisher.fetches(), 2);
}

/// In real time: made-up keys come at 1,000 a second for three seconds.
#[tokio::test]
async fn a_thousand_made_up_keys_a_second_are_one_fetch_a_cool_down_at_most() {
    let (signer, publisher) = (Signer::ed25519("a", 1), Publisher::of(&[]).await);
    publisher.publish(&[&signer]);
    let mut config = config(&publisher.url);
    config.jwt.as_mut().unwrap().cooldown = Span::secs(1);
    let provider = Provider::build("ftgo", &config, &Around::default(), "").unwrap();
    let begun = std::time::Instant::now();
    let mut asked = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        let due = begun.elapsed().as_millis();
        for n in asked..due {
            let forged = Signer::ed25519(&format!("x{n}"), 9).token(&claims());
            refused(identify(&provider, &forged, 0).await, "no key");
        }
        asked = due;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{asked} unknown keys in {:?}, {} fetches", begun.elapsed(), publisher.fetches());
    assert!(asked > 2_500 && (2..=4).contains(&publisher.fetches()), "{asked}, {}", publisher.fetches());
}
