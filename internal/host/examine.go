package host

import (
	"context"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Examination is what a thorough look at a host found, and what kept it from
// going further. As with an Observation all of it came from the host.
type Examination struct {
	SFTP error // why there is no SFTP session; nil: there is
	Root bool  // the host's script ran as root
	Err  error // why it did not, or did not come to its end
	// OldHelper: the installed helper is of another version than this program.
	OldHelper bool
	Facts     *Facts // nil: the script did not tell, or is of an earlier version
	// Seen and SeenErr are what Observe returned. Both are nil where it was of no
	// use to ask.
	Seen    *Observation
	SeenErr error
}

// Facts are what only a doctor asks a host for.
type Facts struct {
	Ahead     time.Duration // the host's clock before ours; negative: behind. 0 where the answer's own time could explain it
	Clock     bool          // the host told its time
	Lacks     []string      // tools that the script needs and the host has not
	Installer string        // the host's package manager: dnf, yum, apt-get, zypper; "": none of them
	Systemd   string        // the first line of systemctl --version
	Timer     bool          // systemd-run is there
	Guard     bool          // /etc/systemd/system can be written
	Wanted    bool          // some target wants the unit
	Log       string        // file, missing, other
	LogUnsafe string        // a folder that others can write, in which the log's path has a link; "": none
	OpenSSL   bool          // is there
	// Hardlinks and Symlinks are fs.protected_hardlinks and fs.protected_symlinks
	// (proc_sys_fs(5)): 0 or 1; "" where the host does not tell.
	Hardlinks, Symlinks string
	forms               map[string]Form
}

// SetForm notes how the certificate file at path is written down.
func (f *Facts) SetForm(path string, form Form) {
	if f.forms == nil {
		f.forms = map[string]Form{}
	}
	f.forms[path] = form
}

// Form is how a certificate file is written down.
type Form struct {
	// Strange is what in it is no base64, at most 64 bytes, each told by its
	// kind: N, R, S, T (newline, return, space, tab), B (of a byte order mark), X.
	Strange     string
	NewlineEnds bool   // its last byte is a newline, or it is empty
	Opens       string // whether OpenSSL 3 opens it: yes, legacy, no; "": not told
}

// Form is that of the certificate file of Seen, where it was told.
func (e *Examination) Form() (form Form, told bool) {
	if e.Facts == nil || e.Seen == nil || e.Seen.Provider == nil {
		return Form{}, false
	}
	form, told = e.Facts.forms[e.Seen.Provider.Path]
	return form, told
}

// Examine looks at the host more closely than Observe does, and changes nothing.
func (v *VM) Examine(ctx context.Context) *Examination {
	e := &Examination{}
	v.conn.Prefetch()
	v.examine(ctx, e, v.host.Agent.CertificatePath)
	e.SFTP = v.openSFTP(ctx)
	if e.Err != nil || e.Facts != nil && len(e.Facts.Lacks) > 0 {
		return e
	}
	e.Seen, e.SeenErr = v.Observe(ctx, ObserveOptions{})
	if _, told := e.Form(); !told && e.Facts != nil && e.SeenErr == nil && e.Seen.Provider != nil && e.Seen.File.Kind == "file" {
		// YAML can write a path in ways that the script's glance misses.
		v.examine(ctx, e, e.Seen.Provider.Path)
	}
	return e
}

func (v *VM) openSFTP(ctx context.Context) error {
	ctx, cancel := v.within(ctx, sftpTimeout)
	defer cancel()
	return v.conn.OpenSFTP(ctx)
}

// examine runs the script's verb examine and notes in e what came of it.
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
	e.heard(out, v.helper(), before, time.Now())
}

// heard reads the script's answer, which came between two times.
func (e *Examination) heard(out []byte, helper bool, before, after time.Time) {
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
	facts := &Facts{Installer: get("installer"), Systemd: get("systemd"), Timer: get("timer") != "", Guard: get("guard") != "",
		Wanted: strings.TrimSpace(get("wanted")) != "", Log: get("log"), LogUnsafe: get("log_unsafe"), OpenSSL: get("openssl") != "",
		Hardlinks: get("protected_hardlinks"), Symlinks: get("protected_symlinks")}
	if clock := seconds(f.fields["clock"]); !clock.IsZero() {
		facts.Clock, facts.Ahead = true, ahead(clock, before, after)
	}
	var path string // of the form that the lines tell of
	var form Form
	for line := range strings.SplitSeq(string(out), "\n") {
		key, text, _ := strings.Cut(line, "=")
		switch key {
		case "lacks":
			facts.Lacks = append(facts.Lacks, clean(text))
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

// ahead compares a clock with the time between a question and its answer.
func ahead(clock, before, after time.Time) time.Duration {
	switch {
	case clock.Before(before):
		return clock.Sub(before)
	case clock.After(after):
		return clock.Sub(after)
	}
	return 0
}
