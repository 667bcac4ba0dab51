//! Signatures by which a receiver knows who sent a request, and that nobody changed it: <https://www.standardwebhooks.com>.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::config::property_value;
use crate::detect::AlertRecord;
use crate::news::hex;

/// What a secret must look like, for messages.
pub const FORM: &str = "\"whsec_\" and 24 to 64 random bytes in Base64 (echo whsec_$(openssl rand -base64 32))";

#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl Secret {
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// As the configuration has it: itself, or the file that it is in.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn read(value: &str) -> Result<Self, String> {
        let text = property_value(value).ok_or_else(|| format!("= {value:?}: the file cannot be read"))?;
        Self::parse(text.trim()).ok_or_else(|| format!("must be {FORM}"))
    }

    /// The value of the header `webhook-signature`.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The value of the header `webhook-id`: the same for a transition whenever, and by whichever process, it is sent.
pub fn message_id(alert: &AlertRecord) -> String {
    let hash = Sha256::digest(format!("{}\n{}", alert.id, alert.sequence));
    format!("msg_{}", hex(&hash[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backtest::tests::alert;
    use crate::detect::life::Transition;

    #[test]
    fn a_signature_is_the_one_of_the_standards_own_libraries() {
        // The example of the reference implementations.
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_is_random_enough_and_shown_by_nothing() {
        let short = format!("whsec_{}", STANDARD.encode([7; 23]));
        for wrong in [short.as_str(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_x", ""] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
            assert!(!Secret::read(wrong).unwrap_err().contains("MfKQ"));
        }
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "***");
    }

    #[test]
    fn a_transition_has_one_id_and_no_other_has_it() {
        let fired = alert("topic:Legal | Regulation", 1000, 1000, Transition::Firing);
        let mut resolved = fired.clone();
        resolved.sequence += 1;
        assert_eq!(message_id(&fired), message_id(&fired.clone()));
        assert_ne!(message_id(&fired), message_id(&resolved));
        assert!(message_id(&fired).bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'));
    }
}
