//! Names that have broken others' programs.

pub fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "{",
        "}",
        "{}",
        "{a}",
        "}{",
        "a{b}c",
        "{{}}",
        " ",
        "  ",
        "a b",
        "\0",
        "a\0",
        "\0a",
        "\r\n",
        "a\r\nSET x y\r\n",
        ":",
        "::",
        "a:b",
        "a:",
        ":a",
        "'",
        "\"",
        "\\",
        "\\\"",
        "%",
        "%00",
        "%2F",
        "/",
        "..",
        "../..",
        ".",
        "*",
        "?",
        "[a]",
        "[^a]",
        "a*",
        "ü",
        "日本語",
        "🎻",
        "e\u{301}",
        "\u{e9}",
        "\u{202e}",
        "\u{feff}",
        "\t",
        "\u{7f}",
        "soloist:1:",
        "-1",
        "0",
        "00",
        "nil",
        "NULL",
        "true",
        "K",
        "k",
        "KEYS[1]",
        "\u{1}\u{2}\u{3}",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(512));
    names.push("{".repeat(512));
    names.push("é".repeat(256));
    names.push("x".repeat(511));
    names
}
