//! What `--help` teaches beyond the flags.

pub(crate) const TOP: &str = "\
Stores (--store URL, or the environment variable SOLOIST_STORE):
  local:              the processes of this machine, no server; the default
  local:/path         the same, in a folder of your own
  redis://host:6379   one Redis or Valkey (rediss:// with TLS, or redis+unix:///path)
  redis://h1,h2,h3    a primary and its replicas: the primary is found, and followed
  redis-sentinel://s1,s2,s3/NAME
                      the primary that Sentinels name (rediss-sentinel:// with TLS)
  redis-cluster://h1,h2,h3
                      a cluster, learned from any of its nodes (rediss-cluster:// with TLS)
  quorum:URL,URL,URL  independent stores, of which a majority decides; locks only
  memory:             inside one process; for trying out only
A password in the URL is seen by whoever lists processes: SOLOIST_PASSWORD has it instead, or
SOLOIST_PASSWORD_FILE the file that has it.

Exit codes:
  the command's own, and 128 + n if signal n ended it
  123  the lease was lost, or is not the current one
  124  the key is held, its line is full, or the wait is over
  125  soloist itself failed, or was called wrongly
  126  the command cannot be run
  127  the command was not found

Examples:
  soloist run nightly-backup -- ./backup.sh
  soloist once report --keep 10m -- ./build-report.sh
  soloist ls";

pub(crate) const RUN: &str = "\
The command has SOLOIST_KEY, SOLOIST_TOKEN, SOLOIST_HOLDER and SOLOIST_LEASE in its environment.
Signals are passed on to its whole process group. If the lease is lost, the group is ended: TERM,
and KILL after --grace. If soloist itself is killed, the group is killed. What the command leaves
running in the background when it ends is left alone, and runs without the lock.

Examples:
  soloist run nightly-backup -- ./backup.sh           stand in line, then run
  soloist run deploy --try -- ./deploy.sh             exit with 124 if somebody else is at it
  soloist run deploy --wait 5m --note v1.2 -- make deploy
  soloist run counter -- sh -c 'curl -d \"token=$SOLOIST_TOKEN\" https://example.org'";

pub(crate) const ONCE: &str = "\
The first who asks runs the command, with no input. Everybody who asks before it ends waits, and
gets the same stdout, stderr and exit code, byte for byte. If the one who runs it is killed or
interrupted, the next in line runs it. The key alone says what is asked for: whoever asks with
another command gets the first one's result.

Examples:
  soloist once report -- ./build-report.sh            20 of these at a time run it once
  soloist once report --keep 10m -- ./build-report.sh and for 10 minutes it is not run again
  soloist once fetch --keep 1h --keep-errors 30s -- curl -fsS https://example.org
  soloist once build --on-error retry --wait 2m -- make";

pub(crate) const LOCK: &str = "\
The lease lives for its ttl; `soloist renew` prolongs it. Whoever has the printed text can renew
and release it.

Examples:
  lease=$(soloist lock article:12 --ttl 5m)
  soloist renew \"$lease\" --ttl 5m
  soloist unlock \"$lease\"
  soloist lock article:12 --holder user:20 --no-expiry --try";

pub(crate) const RENEW_USAGE: &str = "\
soloist renew [OPTIONS] --ttl <DURATION> <LEASE>
       soloist renew [OPTIONS] --ttl <DURATION> --key <KEY> --holder <NAME>";

pub(crate) const UNLOCK_USAGE: &str = "\
soloist unlock [OPTIONS] <LEASE>
       soloist unlock [OPTIONS] --key <KEY> --holder <NAME>
       soloist unlock [OPTIONS] --key <KEY> --break";

pub(crate) const RENEW: &str = "\
Exits with 123 if that lease is not the current one any more.

Examples:
  soloist renew \"$lease\" --ttl 5m
  soloist renew --key article:12 --holder user:20 --ttl 5m";

pub(crate) const UNLOCK: &str = "\
Exits with 123 if that lease is not the current one any more.

Examples:
  soloist unlock \"$lease\"
  soloist unlock --key article:12 --holder user:20
  soloist unlock --key article:12 --break       whoever holds it; a `run` there ends its command";

pub(crate) const SHOW: &str = "\
Exits with 0 also when the key is free; --exit-code makes that 124 when it is held.

Examples:
  soloist show nightly-backup
  soloist show nightly-backup --exit-code >/dev/null && echo free
  soloist show nightly-backup --json | jq .holder";

pub(crate) const LS: &str = "\
Examples:
  soloist ls
  soloist ls 'report:*'
  soloist ls --json | jq -r 'select(.waiting > 3) | .key'";

pub(crate) const WATCH: &str = "\
Events: locked, released, expired, taken_over, broken, published, failed, forgotten; and missed,
where some could not be heard.

Examples:
  soloist watch
  soloist watch 'report:*'
  soloist watch --json | jq -r 'select(.event == \"expired\") | .key'";

pub(crate) const LIVE: &str = "\
Shows what `ls` shows, and for each key how many grants there were a second (over the last 10
seconds) and how often it was lost (expired, taken over, broken; in the last minute). A key that is
free just now but was granted or lost lately is shown, too. Where events could not be heard,
numbers are the least ones: >=3.

Keys: arrows, PgUp, PgDn, Home and End select, Enter shows who waits, s sorts, p pauses, ? helps,
q ends. The keys of a Redis are looked through for each list. While anybody watches events, as this
does, locks cost the store more: the short and plain ways are not taken (docs/redis.md).

Exits with 0 after q, with 130 after ctrl-C. With --json, one object a list goes to stdout, which
need not be a terminal then; a later list that fails is an object with its error.

Examples:
  soloist top
  soloist top 'report:*' --sort waiting --interval 5s
  soloist top --json --times 1 | jq '.totals'
  soloist top --json | jq -r '.keys[]? | select(.grants_per_s > 100) | .key'";

pub(crate) const LIVE_KEYS: &str = "\
up, down, k, j   select a row
PgUp, PgDn       a screen further
Home, End        the first row, the last row
Enter            who holds the selected key, and who waits for it
Esc              back; from the list: the end
s                sort: busiest, key, longest held, most waiting
p, space         pause: the store is asked for no list meanwhile
ctrl-L           draw anew
ctrl-Z           stop, until fg
q, ctrl-C        the end

GRANTS/S         a second, over the last 10 seconds
LOST             expired, taken over or broken in the last minute
>=               at least: some events could not be heard";

pub(crate) const FORGET: &str = "\
A run that is under way is not shared either: whoever waits for it has the command run anew.

Examples:
  soloist forget report
  soloist forget 'article 12'";

pub(crate) const DOCTOR: &str = "\
Prints what it finds, worst first, each with what it costs and the way out, and how long a lock, a
release, a hand-over and an event take. It changes nothing but a scratch key of its own, which it
releases.

Exits with 0 when there is nothing worse than warnings, 1 when there are errors (--strict: or
warnings), 125 when the store cannot be reached; why is then the one finding.

Examples:
  soloist doctor
  soloist doctor --store redis://cache.example.org --strict
  soloist doctor --json | jq -r 'select(.level == \"error\") | .fix'";

pub(crate) const COMPLETIONS: &str = "\
It asks no store, and completes commands and options, not keys.

Examples:
  soloist completions bash > ~/.local/share/bash-completion/completions/soloist
  soloist completions zsh  > ~/.zfunc/_soloist                 with ~/.zfunc in fpath
  soloist completions fish > ~/.config/fish/completions/soloist.fish";
