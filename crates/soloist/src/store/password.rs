//! A password that stands outside of its URL.

use std::fmt;

use super::url::StoreUrl;
use crate::error::{Error, Result};

/// Where the environment may say the password, and in which file it may stand.
const VARIABLE: &str = "SOLOIST_PASSWORD";
const FILE: &str = "SOLOIST_PASSWORD_FILE";

/// A password, which is not printed.
pub(crate) struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Password {
    pub(crate) fn new(password: String) -> Self {
        Password(password)
    }

    /// What the environment says: `SOLOIST_PASSWORD_FILE` names a file, or `SOLOIST_PASSWORD` is it.
    pub(crate) fn from_env() -> Result<Option<Self>> {
        let said = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty());
        let Some(path) = said(FILE) else {
            let no_text = || Error::BadUrl { url: format!("${VARIABLE}"), why: "it is no text".into() };
            let text = said(VARIABLE).map(|text| text.into_string().map_err(|_| no_text())).transpose()?;
            return Ok(text.map(Password));
        };
        let text = std::fs::read_to_string(&path).map_err(|error| Error::BadUrl {
            url: format!("${FILE}"),
            why: format!("{}: {error}", path.display()),
        })?;
        // An editor ends a file with a line break; a password hardly ends with one.
        let text = text.strip_suffix('\n').map_or(&*text, |text| text.strip_suffix('\r').unwrap_or(text));
        Ok(Some(Password(text.to_owned())))
    }

    /// The URL of a server with this password, unless it has one of its own. Other stores have none.
    pub(crate) fn put_into(&self, url: &str) -> String {
        if self.0.is_empty() || !matches!(url.parse(), Ok(StoreUrl::Redis(_))) {
            return url.to_owned();
        }
        let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
        let (place, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let password = escaped(&self.0);
        if scheme == "redis+unix" {
            let has = query.split(['?', '&']).any(|option| option.starts_with("pass="));
            let joint = if query.is_empty() { '?' } else { '&' };
            return if has { url.to_owned() } else { format!("{url}{joint}pass={password}") };
        }
        match place.rsplit_once('@') {
            Some((login, _)) if login.contains(':') => url.to_owned(),
            Some((user, hosts)) => format!("{scheme}://{user}:{password}@{hosts}{query}"),
            None => format!("{scheme}://:{password}@{place}{query}"),
        }
    }
}

/// As it may stand anywhere in a URL.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_url_without_a_password_gets_it() {
        let password = Password::new("g/e:h@im".into());
        for (url, full) in [
            ("redis://host", "redis://:g%2Fe%3Ah%40im@host"),
            ("redis://user@h1,h2:7/0?boot_guard=1s", "redis://user:g%2Fe%3Ah%40im@h1,h2:7/0?boot_guard=1s"),
            ("rediss-sentinel://h/main?ca=/a@b", "rediss-sentinel://:g%2Fe%3Ah%40im@h/main?ca=/a@b"),
            ("redis+unix:///run/a.sock", "redis+unix:///run/a.sock?pass=g%2Fe%3Ah%40im"),
            ("redis+unix:///run/a.sock?db=1", "redis+unix:///run/a.sock?db=1&pass=g%2Fe%3Ah%40im"),
        ] {
            assert_eq!(password.put_into(url), full);
        }
    }

    #[test]
    fn one_of_its_own_stays_and_other_stores_have_none() {
        let password = Password::new("geheim".into());
        for url in [
            "redis://user:own@host",
            "redis://:own@host/0",
            "redis+unix:///a?pass=own",
            "local:/a",
            "memory:",
            "",
            "x",
        ] {
            assert_eq!(password.put_into(url), url);
        }
        assert_eq!(Password::new(String::new()).put_into("redis://host"), "redis://host");
    }

    #[test]
    fn it_is_not_printed() {
        assert_eq!(format!("{:?}", Password::new("geheim".into())), "***");
    }
}
