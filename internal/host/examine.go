package host

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Examination is the result of Examine, with the errors that stopped it. Like an
// Observation it comes from the host: sanitised, limited in size, and possibly a lie.
type Examination struct {
	SFTP error // why no SFTP session opens; nil: it opens
	Root bool  // the host's script ran as root
	Err  error // why it did not run, or did not finish
	// OldHelper is set if the installed helper has another version than this program.
	OldHelper bool
	Facts     *Facts // nil: not reported, as by an earlier version of the script
	// Seen and SeenErr are the results of Observe; both are nil if it was not called.
	Seen    *Observation
	SeenErr error
	Needs
}

// Facts are facts of a host that only doctor needs.
type Facts struct {
	Ahead     time.Duration // how far the host's clock is ahead; negative: behind. 0 within the time of the call
	Clock     bool          // the host reported its time
	Lacks     []string      // tools that the script needs and the host does not have
	Without   []string      // tools that the vendor has installed with the agent, which the host does not have
	LogSpace  int64         // free bytes in the log's folder; -1: unknown
	Installer string        // the host's package manager: apt-get, dnf, yum, zypper; "": none of them
	Systemd   string        // the first line of systemctl --version
	Timer     bool          // systemd-run exists
	Guard     bool          // root can write /etc/systemd/system
	Wanted    bool          // some target wants the unit
	Log       string        // file, missing, other
	LogUnsafe string        // a folder that non-root users can write, in which the log's path has a link; "": none
	OpenSSL   bool          // openssl exists
	// Hardlinks and Symlinks are fs.protected_hardlinks and fs.protected_symlinks
	// (proc_sys_fs(5)): 0 or 1; "" if unknown.
	Hardlinks, Symlinks string
	forms               map[string]Form
}

// SetForm sets the form of the certificate file at path.
func (f *Facts) SetForm(path string, form Form) {
	if f.forms == nil {
		f.forms = map[string]Form{}
	}
	f.forms[path] = form
}

// Form describes the text of a certificate file.
type Form struct {
	// Strange lists the bytes that are not base64, at most 64, each by its kind: N, R, S,
	// T (newline, return, space, tab), B (of a byte order mark), X (other).
	Strange     string
	NewlineEnds bool   // its last byte is a newline, or it is empty
	Opens       string // whether OpenSSL 3 opens it: yes, legacy, no; "": unknown
}

// Form returns the form of the certificate file of Seen, if the host reported it.
func (e *Examination) Form() (form Form, known bool) {
	if e.Facts == nil || e.Seen == nil || e.Seen.Provider == nil {
		return Form{}, false
	}
	form, known = e.Facts.forms[e.Seen.Provider.Path]
	return form, known
}

// Examine reads more of the host than Observe, which it includes, and changes nothing. It
// connects from the host to what the agent needs there and in the cloud.
func (v *VM) Examine(ctx context.Context, cloud Cloud) *Examination {
	e := &Examination{}
	v.conn.Prefetch()
	v.examine(ctx, e, v.host.Agent.CertificatePath)
	e.SFTP = v.openSFTP(ctx)
	if e.Err != nil || e.Facts != nil && len(e.Facts.Lacks) > 0 {
		return e
	}
	e.Seen, e.SeenErr = v.Observe(ctx, ObserveOptions{})
	if _, known := e.Form(); !known && e.Facts != nil && e.SeenErr == nil && e.Seen.Provider != nil && e.Seen.File.Kind == "file" {
		// The script does not find a path in every form that YAML allows.
		v.examine(ctx, e, e.Seen.Provider.Path)
	}
	if e.SeenErr == nil && e.Seen.Configured != "" {
		e.Needs = v.needs(ctx, e.Seen.Config, cloud)
	}
	return e
}

func (v *VM) openSFTP(ctx context.Context) error {
	ctx, cancel := v.within(ctx, sftpTimeout)
	defer cancel()
	return v.conn.OpenSFTP(ctx)
}

// examine runs the script's verb examine and sets the results in e.
func (v *VM) examine(ctx context.Context, e *Examination, path string) {
	values := append(v.common(), value{"config", v.host.Agent.Config})
	if path != "" {
		values = append(values, value{"path", path})
	}
	before := time.Now()
	out, err := v.do(ctx, lookTimeout, "examine", values)
	if e.Err = err; err != nil {
		return
	}
	e.parse(out, v.helper(), before, time.Now())
}

// parse sets the results from the script's answer, which arrived between two times.
func (e *Examination) parse(out []byte, helper bool, before, after time.Time) {
	f := parseFound(out)
	note, err := "", error(nil)
	if helper {
		note, err = helperProblem(f)
	}
	msg, refused := f.fields["error"]
	e.OldHelper = note != ""
	e.Root = refused || f.fields["examined"] != "" || f.fields["helper"] != ""
	switch {
	case err != nil:
		e.Err = err
	case e.OldHelper && refused && strings.HasPrefix(msg, "internal "): // it does not know the verb
	case refused:
		e.Err = hostSaid(msg)
		e.Root = e.Root && !problem.Is(e.Err, problem.Sudo)
	case f.fields["examined"] == "":
		e.Err = cutShort(out)
	default:
		e.Facts = parseFacts(out, f, before, after)
	}
}

func parseFacts(out []byte, f *found, before, after time.Time) *Facts {
	get := func(key string) string { return clean(f.fields[key]) }
	facts := &Facts{LogSpace: -1, Installer: get("installer"), Systemd: get("systemd"), Timer: get("timer") != "", Guard: get("guard") != "",
		Wanted: strings.TrimSpace(get("wanted")) != "", Log: get("log"), LogUnsafe: get("log_unsafe"), OpenSSL: get("openssl") != "",
		Hardlinks: get("protected_hardlinks"), Symlinks: get("protected_symlinks")}
	if clock := seconds(f.fields["clock"]); !clock.IsZero() {
		facts.Clock, facts.Ahead = true, ahead(clock, before, after)
	}
	if space, err := strconv.ParseInt(f.fields["log_space"], 10, 64); err == nil && space >= 0 {
		facts.LogSpace = space
	}
	var path string // of the form that the next lines describe
	var form Form
	for line := range strings.SplitSeq(string(out), "\n") {
		key, text, _ := strings.Cut(line, "=")
		switch key {
		case "lacks":
			facts.Lacks = append(facts.Lacks, clean(text))
			continue
		case "without":
			facts.Without = append(facts.Without, clean(text))
			continue
		case "form":
			path, form = text, Form{}
		case "strange":
			form.Strange = display.Sanitise(text, 64)
		case "newline_ends":
			form.NewlineEnds = true
		case "opens":
			form.Opens = clean(text)
		default:
			continue
		}
		facts.SetForm(path, form)
	}
	return facts
}

// ahead returns how far clock is outside the time between a call and its answer.
func ahead(clock, before, after time.Time) time.Duration {
	switch {
	case clock.Before(before):
		return clock.Sub(before)
	case clock.After(after):
		return clock.Sub(after)
	}
	return 0
}
