package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Observation is the state of a host. Everything in it comes from the host: it is limited
// in size and sanitised, and may be a lie.
type Observation struct {
	Clock    time.Time // the host's
	Unit     Unit
	Config   AgentConfig
	Provider *Provider         // nil: managed identity
	File     File              // of Provider
	Live     *certificate.Info // nil: unknown, see LiveNote
	LiveNote string
	Denied   string // the last denied line of the running agent, at most five minutes old
	// PortClosed is set if nothing listens on Config.ListenerPort.
	PortClosed bool
	// Command is why health.command failed; "": it succeeded or did not run.
	Command  string
	Receipts []Receipt
	AtWork   bool              // a transaction of the observing run is in progress
	Backups  []Backup          // the oldest first
	Leftover []string          // of ended runs: names of staged files, dead-man switches; at most maxShown
	Saved    *certificate.Info // in the backup of ObserveOptions.Saved; nil: unknown
	Space    int64             // free bytes below /var/lib
	HostKey  string
	Machine  string // MACHINE-ID/BOOT-ID, equal for one machine under two names; "": unknown
	Note     string // for the operator; usually ""
	// Configured is the SHA-256 of the agent's configuration in the form in which the host
	// sent it, and Settings its inode, if that is certain. A rotation sends them back: it is
	// only valid for this configuration.
	Configured, Settings string
	// ConfigDigest is the SHA-256 of the agent's configuration with one newline at its end, as
	// sha256sum(1) prints it for a file of this usual form; "": there is none, or it is too long.
	ConfigDigest string
	Latest       *Latest // with ObserveOptions.Latest; nil: the host did not report it
	// Configuration is the agent's configuration as a file, with ObserveOptions.Configuration.
	Configuration *Content
	// Others are the facts of ObserveOptions.Files, without their bytes.
	Others []File
	// Contents are the same files, with their bytes if ObserveOptions.Bytes was set.
	Contents []Content
	// Unnamed is then why the configuration's text does not tell the certificate: Provider is nil.
	Unnamed *problem.Error
}

// Other returns one of Others; the zero File if it is not among them.
func (o *Observation) Other(path string) File {
	for _, f := range o.Others {
		if f.Path == path {
			return f
		}
	}
	return File{}
}

// Content returns one of Contents; the zero Content if it is not among them.
func (o *Observation) Content(path string) Content {
	for _, c := range o.Contents {
		if c.File.Path == path {
			return c
		}
	}
	return Content{}
}

// Unfinished returns the receipt of a transaction that has not ended.
func (o *Observation) Unfinished() (Receipt, bool) {
	for _, r := range o.Receipts {
		if r.State == "pending" || r.State == "undoing" {
			return r, true
		}
	}
	return Receipt{}, false
}

// found is the parsed answer of a verb, not yet sanitised.
type found struct {
	fields map[string]string
	config strings.Builder
	digest hash.Hash // of the configuration's lines, as received
	unit   map[string]string
	files  []*foundFile
	last   *foundFile // to which the next facts belong; nil: none
	recs   []Receipt

	configuration *foundFile
	others        []*foundFile // ObserveOptions.Files
	savedFiles    []*foundFile // of the run of ObserveOptions.Saved

	backups  []Backup
	leftover []string
	saved    strings.Builder
	done     bool
	note     string // of the helper's version
}

// parseFound parses the script's lines. It keeps unknown keys in fields, which no one
// reads.
func parseFound(out []byte) *found {
	f := &found{fields: map[string]string{}, unit: map[string]string{}, digest: sha256.New()}
	for line := range strings.SplitSeq(string(out), "\n") {
		key, text, _ := strings.Cut(line, "=")
		if key != "config" && key != "pem" && key != "saved_pem" && key != "content" {
			text = intern(text)
		}
		switch key {
		case "config":
			f.config.WriteString(text)
			f.config.WriteByte('\n')
			fmt.Fprintln(f.digest, line) // a hash takes everything
		case "unit":
			k, v, _ := strings.Cut(text, "=")
			f.unit[k] = intern(clean(v))
		case "certificate":
			f.last = &foundFile{path: text, fields: map[string]string{}}
			f.files = append(f.files, f.last)
		case "configuration":
			f.last = &foundFile{path: text, fields: map[string]string{}}
			f.configuration = f.last
		case "other":
			f.last = &foundFile{path: text, fields: map[string]string{}}
			f.others = append(f.others, f.last)
		case "receipt":
			f.recs = append(f.recs, parseReceipt(text))
		case "receipt_alive", "receipt_left", "receipt_armed", "receipt_pid":
			f.ofReceipt(key, text)
		case "backup":
			if b, ok := parseBackup(text); ok {
				f.backups = append(f.backups, b)
			}
		case "saved_file":
			f.last = &foundFile{path: text, fields: map[string]string{}}
			f.savedFiles = append(f.savedFiles, f.last)
		case "leftover":
			if name := clean(text); len(f.leftover) < maxShown && !slices.Contains(f.leftover, name) {
				f.leftover = append(f.leftover, name)
			}
		case "saved_pem":
			f.saved.WriteString(text + "\n")
		case "observed":
			f.done = true
		case "kind", "real", "folder", "guarded", "unsafe", "untrusted", "readonly", "makes", "attributes", "digest", "no_openssl", "about", "pem", "content",
			"saved_real", "saved_old", "saved_new", "saved_attributes":
			f.ofFile(key, text)
		default:
			f.fields[key] = text
		}
	}
	return f
}

// intern returns one copy of a text for all hosts, without the memory around it, so that
// ten thousand answers stay small.
func intern(text string) string { return unique.Make(text).Value() }

func (f *found) ofFile(key, text string) {
	switch {
	case f.last == nil:
	case key == "pem":
		f.last.pem.WriteString(text)
		f.last.pem.WriteByte('\n')
	case key == "content":
		f.last.addContent(text)
	default:
		f.last.fields[key] = text
	}
}

// observation returns the state of the host. An error means that this host can't be
// rotated as it is; the Observation is valid all the same.
func (f *found) observation(agent inventory.Agent) (*Observation, error) {
	clock := seconds(f.fields["clock"])
	uptime := seconds(f.fields["uptime"]).Sub(time.Unix(0, 0))
	o := &Observation{
		Clock: clock, Machine: machineOf(f.fields["machine"]),
		Unit: f.unitState(clock, uptime), Denied: display.Sanitise(f.fields["denied"], 400),
		Others: factsOf(f.others), Receipts: f.recs, AtWork: f.fields["at_work"] != "", Backups: f.backups, Leftover: f.leftover,
	}
	for _, other := range f.others {
		o.Contents = append(o.Contents, *other.whole())
	}
	if info, err := certificate.ParsePublic([]byte(f.saved.String())); err == nil {
		o.Saved = shown(info)
	}
	o.Space, _ = strconv.ParseInt(f.fields["space"], 10, 64)
	if folder, unsafe := f.fields["config_unsafe"]; unsafe {
		return o, &problem.Error{Class: problem.Configuration,
			Message: "the agent's configuration " + agent.Config + " is a link, and non-root users can write the folder " + clean(folder),
			Hint:    "name the file itself in agent.config"}
	}
	o.Settings, o.Configured = display.Plain(f.fields["settings"], 200), hex.EncodeToString(f.digest.Sum(nil))
	err := f.readConfig(o, agent)
	if f.configuration == nil || err == nil {
		return o, err
	}
	o.Unnamed = AsProblem(err)
	return o, nil
}

// readConfig sets what the configuration's text says. An error means that it does not tell the
// certificate.
func (f *found) readConfig(o *Observation, agent inventory.Agent) error {
	text := f.config.String()
	if f.configuration != nil {
		o.Configuration, o.Configured = f.configuration.whole(), clean(f.fields["configured"])
		// A file that must not be changed can be read all the same.
		if p := o.Configuration.Problem(); p != nil && o.Configuration.Data == nil && o.Configuration.File.Kind != "missing" {
			return p
		}
		text = string(o.Configuration.Data)
	}
	if _, missing := f.fields["config_missing"]; missing {
		o.Configured = ""
		if agent.CertificatePath == "" {
			return &problem.Error{Class: problem.Configuration,
				Message: "the agent's configuration " + agent.Config + " does not exist",
				Hint:    "is the agent installed? set agent.config or agent.certificate_path in the inventory"}
		}
	} else if _, cut := f.fields["config_cut"]; cut {
		return &problem.Error{Class: problem.Configuration,
			Message: "the agent's configuration " + agent.Config + " has more than 4000 lines"}
	} else {
		o.ConfigDigest = digestOf(text)
		cfg, err := parseAgentConfig(text)
		if err != nil {
			return &problem.Error{Class: problem.Configuration,
				Message: "the agent's configuration " + agent.Config + ": " + err.Error(),
				Hint:    "correct it on the host: the agent may not start with it either"}
		}
		o.Config, o.PortClosed = cfg, f.portClosed(cfg)
	}
	provider, err := o.Config.choose(agent)
	if err != nil {
		return err
	}
	o.Provider = provider
	return nil
}

func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// machineIDs matches a machine id and a boot id, as in machine-id(5) and random(4). An
// "uninitialized" machine id, or none, identifies no machine.
var machineIDs = regexp.MustCompile(`^[0-9a-f]{32} [0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func machineOf(ids string) string {
	if !machineIDs.MatchString(ids) {
		return ""
	}
	return strings.Replace(ids, " ", "/", 1)
}

// seconds parses SECONDS.FRACTION since the epoch; the zero time if it is invalid.
func seconds(s string) time.Time {
	whole, fraction, _ := strings.Cut(strings.TrimSpace(s), ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	return encodable(time.Unix(sec, nanos))
}

// encodable returns t, or the zero time if RFC 3339 can't express t: no document with such
// a time could be written (time.Time.MarshalJSON).
func encodable(t time.Time) time.Time {
	if year := t.UTC().Year(); year < 0 || year > 9999 {
		return time.Time{}
	}
	return t
}

// file returns what the script reported of a path; nil: nothing.
func (f *found) file(path string) *foundFile {
	for _, file := range f.files {
		if file.path == path {
			return file
		}
	}
	return nil
}

// describe sets File and Live from what the script reported of the certificate file.
func (o *Observation) describe(file *foundFile) {
	if o.File = file.facts(); o.File.Kind != "file" {
		o.LiveNote = "there is no file"
		return
	}
	info, err := certificate.ParsePublic(file.pem.Bytes())
	switch kept, ok := parseAbout(file.fields["about"]); {
	case ok:
		o.Live = &kept
	case file.fields["no_openssl"] != "":
		o.LiveNote = "the host has no openssl to read it"
	case !bytes.Contains(file.pem.Bytes(), []byte("-----BEGIN ")):
		o.LiveNote = "openssl on the host shows no certificate in it"
	case err != nil:
		o.LiveNote = err.Error()
	default:
		o.Live = shown(info)
	}
	if o.Live != nil {
		for _, name := range []*string{&o.Live.Thumbprint, &o.Live.SHA256, &o.Live.Subject, &o.Live.Issuer, &o.Live.Serial} {
			*name = intern(*name)
		}
	}
}

var hexDigits = regexp.MustCompile(`^[0-9A-Fa-f]+$`)

// parseAbout parses the certificate's details in the receipt of the run that installed the
// live file (Change.about).
func parseAbout(text string) (certificate.Info, bool) {
	var info certificate.Info
	if text == "" || json.Unmarshal([]byte(text), &info) != nil ||
		encodable(info.NotBefore) != info.NotBefore || encodable(info.NotAfter) != info.NotAfter ||
		len(info.Thumbprint) != 40 || len(info.SHA256) != 64 || !hexDigits.MatchString(info.Thumbprint+info.SHA256) {
		return certificate.Info{}, false
	}
	return *shown(info), true
}

// shown returns the details of a host's certificate, safe to show.
func shown(info certificate.Info) *certificate.Info {
	for _, name := range []*string{&info.Subject, &info.Issuer, &info.Serial} {
		*name = display.Sanitise(*name, 400)
	}
	return &info
}
