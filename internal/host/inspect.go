package host

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// NewSalt returns a salt for the digests of one run.
func NewSalt() string { return rand.Text() }

// Inspection is what an agent needs besides its certificate, as the host reported it.
type Inspection struct {
	// Note is why the agent's user was not asked; "": it was.
	Note     string
	User     string // the agent's user
	Secrets  []Secret
	Servers  []KnownServer
	Firewall Firewall
	More     bool // the configuration has more of them than are checked
}

// Secret is a file secret of the agent and what its user sees of the file.
type Secret struct {
	FileSecret
	// Kind is file, missing, extension (a file of that name has one), nodir, denied (the
	// agent's user can't read it), other (not a regular file); "": no answer.
	State string
	// Form has B (byte order mark), then the whitespace at the beginning, a dot, and that
	// at the end, in the letters of Form.Strange.
	Form string
	// Digest is the beginning of the SHA-256 of the run's salt and the secret, in 8
	// hexadecimal digits: enough to compare hosts in one run. Without the salt, which is
	// never shown, it does not help to guess a password.
	Digest      string
	Owner, Mode string
	Size        int64
	Changed     time.Time
}

// maxSecret is the size from which on a file is no secret of an SFTP source.
const maxSecret = 65536

// Problem returns what is wrong with the secret of an agent that runs as user, nil if
// nothing is. Messages name no host.
func (s Secret) Problem(user string) *problem.Error {
	name, path := clean(s.Name), display.Sanitise(s.Path, 4096)
	wrong := func(hint, format string, args ...any) *problem.Error {
		return &problem.Error{Class: problem.Configuration, Message: "secret " + name + ": " + fmt.Sprintf(format, args...), Hint: hint}
	}
	quoted := display.ArgOn("linux", path)
	before, after, _ := strings.Cut(strings.TrimPrefix(s.Form, "B"), ".")
	switch {
	case s.Path == "":
		return wrong("see secret_providers in the agent's configuration", "its provider has no absolute secrets_directory, or it is no file name")
	case s.State == "nodir":
		return wrong("create the folder for the agent's user", "the folder of %s does not exist", path)
	case s.State == "extension":
		return wrong("rename the file", "%s does not exist, only a file with an extension", path)
	case s.State == "missing":
		return wrong("", "%s does not exist", path)
	case s.State == "denied":
		return wrong("see on the host: namei -l "+quoted, "%s can't read %s", user, path)
	case s.State != "file":
		return wrong("", "%s is not a regular file", path)
	case s.Size == 0:
		return wrong("", "%s is empty", path)
	case s.Size > maxSecret:
		return wrong("", "%s has %d bytes", path, s.Size)
	case s.Owner != user:
		return wrong("on the host: chown "+user+" "+quoted, "%s belongs to %s, not to %s", path, s.Owner, user)
	case s.Mode != "600":
		return wrong("on the host: chmod 600 "+quoted, "%s has mode %s, not 600", path, s.Mode)
	case strings.HasPrefix(s.Form, "B"):
		return wrong("write only the value", "%s starts with a byte order mark", path)
	case before != "":
		return wrong("write only the value", "%s starts with whitespace", path)
	// A key in PEM form may end with a newline (RFC 7468 section 3).
	case after != "" && s.Kind != "private_key":
		return wrong("write only the value, without a newline", "%s ends with whitespace", path)
	}
	return nil
}

// KnownServer is an SFTP server of the agent and its keys in the known_hosts file.
type KnownServer struct {
	Server
	Known []KnownKey
	// Why is why it is unknown which keys are known; "": Known is complete.
	Why string
}

// KnownKey is a key in a known_hosts file.
type KnownKey struct{ Type, Fingerprint, Marker string }

// Firewall is what is certain of the host's packet filter.
type Firewall struct {
	State string   // none, firewalld, filtered (there are rules), unknown; "": not asked
	Zones []string // firewall-cmd --list-all-zones, as it is
}

// Inspect asks the host about the file secrets, the known SFTP servers and the firewall of
// an agent with this configuration; it changes nothing. The digests have the salt. The
// Inspection is never nil: it says what is unknown because of the error.
func (v *VM) Inspect(ctx context.Context, config AgentConfig, salt string) (*Inspection, error) {
	i, values := inspection(config, salt)
	if len(values) == 0 {
		return i, nil
	}
	out, err := v.do(ctx, lookTimeout, "inspect", append(v.common(), values...))
	if err == nil {
		err = i.parse(string(out))
	}
	if err != nil {
		i.Note = AsProblem(err).Message
		for n := range i.Servers {
			i.Servers[n].Why = i.Note
		}
	}
	return i, err
}

// inspection returns what is asked, without answers, and the values of the call; none if
// there is nothing to ask.
func inspection(config AgentConfig, salt string) (*Inspection, []value) {
	i := &Inspection{More: config.More}
	var values []value
	ask := func(question string) { values = append(values, value{"ask", question}) }
	for _, s := range config.FileSecrets {
		i.Secrets = append(i.Secrets, Secret{FileSecret: s})
		ask("secret " + cmp.Or(s.Path, "/dev/null/none"))
	}
	for _, s := range config.Servers {
		known := KnownServer{Server: s, Why: "the host gave no answer"}
		question := "known " + s.KnownName() + " " + s.KnownHosts
		if !s.Usable() {
			known.Why, question = "the agent's configuration has no valid host, port or known_hosts_file", "none"
		}
		i.Servers = append(i.Servers, known)
		ask(question)
	}
	if config.ListenerPort != 0 {
		values = append(values, value{"port", strconv.Itoa(config.ListenerPort)})
	}
	if len(values) > 0 {
		values = append(values, value{"salt", salt})
	}
	return i, values
}

// parse sets the answers. Only lines with the key agent are the agent's user's.
func (i *Inspection) parse(out string) error {
	f := parseFound([]byte(out))
	if message, refused := f.fields["error"]; refused {
		return hostSaid(message)
	}
	if f.fields["inspected"] == "" {
		return cutShort([]byte(out))
	}
	i.Note, i.Firewall.State = clean(f.fields["no_user"]), clean(f.fields["firewall"])
	for line := range strings.SplitSeq(out, "\n") {
		key, text, _ := strings.Cut(line, "=")
		kind, text2, _ := strings.Cut(text, " ")
		switch {
		case key == "zone":
			i.Firewall.Zones = append(i.Firewall.Zones, display.Plain(text, 1000))
		case key != "agent":
		case kind == "user":
			i.User = clean(text2)
		default:
			i.answer(kind, text2)
		}
	}
	return nil
}

// answer sets the answer to one question, NUMBER TEXT.
func (i *Inspection) answer(kind, text string) {
	number, text, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	switch {
	case err != nil || n < 0:
	case kind == "secret" && n < len(i.Secrets):
		i.Secrets[n].parse(text)
	case kind == "known" && n >= len(i.Secrets) && n-len(i.Secrets) < len(i.Servers):
		i.Servers[n-len(i.Secrets)].parse(text)
	}
}

// parse parses STATE FORM DIGEST MODE SIZE CHANGED OWNER; the last four may be missing.
func (s *Secret) parse(text string) {
	words := append(strings.SplitN(text, " ", 7), make([]string, 7)...)
	s.State, s.Form, s.Digest = clean(words[0]), clean(words[1]), clean(words[2])
	s.Mode, s.Changed, s.Owner = clean(words[3]), seconds(words[5]), clean(words[6])
	s.Size, _ = strconv.ParseInt(words[4], 10, 64)
}

// parse parses a line of ssh-keygen -F, or how it ended.
func (s *KnownServer) parse(text string) {
	ended, isEnd := strings.CutPrefix(text, "exit ")
	file := clean(s.KnownHosts)
	switch {
	case text == "no_program":
		s.Why = "the host has no ssh-keygen"
	case text == "missing", ended == "0", ended == "1":
		s.Why = ""
	case isEnd:
		s.Why = cmp.Or(map[string]string{"124": "reading " + file + " took too long"}[ended], "the agent's user can't read "+file)
	case len(s.Known) < 20:
		if marker, _, key, _, _, err := ssh.ParseKnownHosts([]byte(text)); err == nil {
			s.Known = append(s.Known, KnownKey{key.Type(), ssh.FingerprintSHA256(key), marker})
		}
	}
}
