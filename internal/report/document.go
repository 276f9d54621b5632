package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// SchemaVersion is the version of the JSON document. Keys may be added within a
// version, but none is renamed or removed.
const SchemaVersion = 1

// Document is what -o json prints (docs/reference.md).
type Document struct {
	SchemaVersion int       `json:"schema_version"`
	ToolVersion   string    `json:"tool_version"`
	RunID         string    `json:"run_id"`
	Command       string    `json:"command"`
	StartedAt     time.Time `json:"started_at"`
	FinishedAt    time.Time `json:"finished_at"`
	DurationMS    int64     `json:"duration_ms"`
	ExitCode      int       `json:"exit_code"` // -1: a journal without an end
	Owner         string    `json:"owner,omitempty"`
	// Inventory is the file, and its digest if that is known.
	Inventory *planfile.Inventory `json:"inventory,omitempty"`
	// Totals counts the hosts by outcome; in a plan to_change is the number of hosts that it changes.
	Totals map[string]int `json:"totals"`
	Hosts  []Host         `json:"hosts"`
	// Principals has, in a status, the certificates in use.
	Principals []Principal `json:"service_principals,omitempty"`
	// PlanID is the ID of the saved plan that was made or carried out.
	PlanID string `json:"plan_id,omitempty"`
	// PlanDigest is its whole digest, and Policy how a plan is carried out.
	PlanDigest string           `json:"plan_digest,omitempty"`
	Policy     *planfile.Policy `json:"policy,omitempty"`
	// Next has the commands that continue after a run.
	Next []string `json:"next,omitempty"`
	// Undo is the command that undoes a run.
	Undo string `json:"undo,omitempty"`
	// EstimatedMS is, in a plan with changes, how long carrying it out takes, in milliseconds.
	EstimatedMS int64     `json:"estimated_ms,omitempty"`
	Warnings    []Warning `json:"warnings,omitempty"`
	// Saved has, in `plan show`, what the file of the plan has besides its hosts.
	Saved *SavedPlan `json:"saved_plan,omitempty"`
	// Renewals has, in a renewal, the certificates of the inventory.
	Renewals []Renewal `json:"renewals,omitempty"`
}

// Warning is a safeguard that a plan does not use, or what is not known after a run.
type Warning struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// Host is one host in the document.
type Host struct {
	Name     string  `json:"name"`
	Address  string  `json:"address"`
	Site     string  `json:"site,omitempty"`      // the label site, or the group
	ClientID string  `json:"client_id,omitempty"` // of the agent's service principal
	Outcome  *string `json:"outcome"`             // null in a plan and a status for a host that has none
	Proof    *string `json:"proof"`
	Wave     *int    `json:"wave"`
	Verified *bool   `json:"verified"` // null: verification was not wanted
	Steps    []Step  `json:"steps"`
	// DurationMS is the time of the steps.
	DurationMS int64          `json:"duration_ms,omitempty"`
	Old        *Certificate   `json:"old"`
	New        *Certificate   `json:"new"`
	Files      []File         `json:"files,omitempty"`               // besides the certificate
	Package    *Package       `json:"package,omitempty"`             // of an upgrade, and of its rollback
	Command    string         `json:"certificate_command,omitempty"` // of the inventory, that prints the certificate
	Note       string         `json:"note,omitempty"`
	Notes      []string       `json:"notes,omitempty"`
	Error      *problem.Error `json:"error"`
	Evidence   []string       `json:"evidence,omitempty"`
	Action     string         `json:"action,omitempty"`
	// OpensAt is when a host may begin that is outside its windows, ClosesAt until when one may
	// that is inside.
	OpensAt  *time.Time `json:"opens_at,omitempty"`
	ClosesAt *time.Time `json:"closes_at,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	// SettlesAt is when an unknown host has undone the change by itself, at the latest.
	SettlesAt  *time.Time  `json:"settles_at,omitempty"`
	DaysLeft   *int        `json:"days_left,omitempty"`
	Rotated    *Rotation   `json:"rotated,omitempty"` // in a status: the run that made the certificate live
	Drifted    *bool       `json:"drifted,omitempty"` // in a status: not the inventory's certificate
	Unit       *Unit       `json:"unit,omitempty"`
	Unfinished *Unfinished `json:"unfinished,omitempty"`
	Leftovers  []string    `json:"leftovers,omitempty"`    // of runs that have ended
	Kept       *int        `json:"backup_count,omitempty"` // in a status
	// AgentVersion, ConfigSHA256 and LastUpload are in a status, where they are known.
	AgentVersion string   `json:"agent_version,omitempty"`
	ConfigSHA256 string   `json:"config_sha256,omitempty"`
	LastUpload   *Upload  `json:"last_upload,omitempty"`
	Backups      []Backup `json:"backups,omitempty"` // in `backups list`
	Removed      *int     `json:"removed,omitempty"` // in `backups prune`
	Helper       string   `json:"helper,omitempty"`  // in `install-helper`: installed, current
	// Diagnostics is the zip that was downloaded.
	Diagnostics *Diagnostics `json:"diagnostics,omitempty"`

	elsewhere bool // see mayBeAtWork
}

// File is a file that a host has or should have besides its certificate.
type File struct {
	What    string `json:"what"`
	Path    string `json:"path"`
	Old     string `json:"old"` // SHA-256; none: there is no file; "not shown" of a secret
	New     string `json:"new"`
	Changed bool   `json:"changed"` // in a plan: to be changed
	Diff    string `json:"diff,omitempty"`
}

// Package is the agent's package on a host.
type Package struct {
	Name    string `json:"name,omitempty"`
	Manager string `json:"manager,omitempty"` // apt, dnf, yum
	Old     string `json:"old"`               // version, as the manager writes it; "": it is not installed
	New     string `json:"new"`               // "": the host's repositories do not have the version
	Changed bool   `json:"changed"`           // in a plan: to be changed
}

// packageOf returns the package of a host, nil if it stays or the host was not asked; changed is as
// of filesOf.
func packageOf(e rollout.Entry, changed bool) *Package {
	if e.Package == nil || e.Package.Change.Manager == "" {
		return nil
	}
	c := e.Package.Change
	return &Package{shortText(c.Name), shortText(c.Manager), shortText(c.From), shortText(c.To), changed && e.Package.Installs()}
}

// Unfinished is a transaction on the host that has not ended.
type Unfinished struct {
	RunID  string `json:"run_id"`
	Owner  string `json:"owner"`
	State  string `json:"state"` // pending, undoing
	AtWork bool   `json:"at_work"`
	// SecondsLeft is the time until the host's dead-man switch undoes it; null: it has none.
	SecondsLeft *int `json:"seconds_left"`
	// PID is its process on the host, if it still runs after its deadline.
	PID int `json:"pid,omitempty"`
}

// Diagnostics is the zip of the agent's own diagnostics tool.
type Diagnostics struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Step is one effect on the host.
type Step struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	AtMS int64  `json:"at_ms"` // since the start of the document
	MS   int64  `json:"ms"`
}

// Certificate is the public part of a certificate.
type Certificate struct {
	Thumbprint string    `json:"thumbprint"` // SHA-1, upper-case hex, as Entra shows it
	SHA256     string    `json:"sha256"`
	Subject    string    `json:"subject"`
	NotAfter   time.Time `json:"not_after"`
}

// Unit is the agent's unit in a status.
type Unit struct {
	Name     string     `json:"name"`
	Active   string     `json:"active_state"`
	Sub      string     `json:"sub_state"`
	File     string     `json:"unit_file_state"`
	Restarts int        `json:"restarts"`
	Started  *time.Time `json:"started_at"`
}

// Write prints the document, indented.
func (d *Document) Write(w io.Writer) error {
	if d.Totals == nil {
		d.Totals = map[string]int{}
	}
	if d.Hosts == nil {
		d.Hosts = []Host{}
	}
	out := bufio.NewWriter(w)
	if err := d.write(out); err != nil {
		return err
	}
	return out.Flush()
}

// write encodes one host at a time, so that a large fleet's document is never in memory
// as a whole.
func (d *Document) write(out *bufio.Writer) error {
	head := *d
	head.Hosts = []Host{}
	text, err := indented(head, "")
	if err != nil {
		return err
	}
	// No value can contain it: JSON writes a line break in a string as \n.
	const empty = "\n  \"hosts\": []"
	before, after, _ := bytes.Cut(text, []byte(empty))
	_, _ = out.Write(before) // Flush returns the first error
	_, _ = out.WriteString(strings.TrimSuffix(empty, "]"))
	for i := range d.Hosts {
		if text, err = indented(d.Hosts[i], "    "); err != nil {
			return err
		}
		_, _ = out.WriteString("\n    ")
		_, _ = out.Write(text[:len(text)-1])
		if i < len(d.Hosts)-1 {
			_, _ = out.WriteString(",")
		} else {
			_, _ = out.WriteString("\n  ")
		}
	}
	_, _ = out.WriteString("]")
	_, _ = out.Write(after)
	return nil
}

// indented returns v as indented JSON with a line end.
func indented(v any, prefix string) ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetIndent(prefix, "  ")
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return text.Bytes(), err
}

// PlanHosts returns the hosts of a plan for the document.
func PlanHosts(p *rollout.Plan) []Host {
	hosts := make([]Host, len(p.Entries))
	for i, e := range p.Entries {
		hosts[i] = entryHost(e)
		hosts[i].Files, hosts[i].Package = filesOf(e, e.Outcome == ""), packageOf(e, e.Outcome == "")
	}
	return hosts
}

// notShown returns what is shown instead of the digest of a secret, by which it could be guessed.
func notShown(digest string) string {
	if digest == "none" {
		return digest
	}
	return "not shown"
}

// filesOf returns the files of a host besides its certificate; changed is whether those that are
// not as wanted are replaced.
func filesOf(e rollout.Entry, changed bool) (list []File) {
	for _, w := range e.Files {
		f := File{What: w.What, Path: shortText(w.Seen.Path), Old: w.Seen.Digest, New: w.Digest(), Changed: changed && w.Changes(), Diff: w.Diff}
		if w.Secret() {
			f.Old, f.New = notShown(f.Old), notShown(f.New)
		}
		list = append(list, f)
	}
	return list
}

// PlanWarnings returns the safeguards that a plan does not use.
func PlanWarnings(p *rollout.Plan) []Warning { return ShownWarnings(p.Warnings()) }

// ShownWarnings returns warnings for the document.
func ShownWarnings(warnings []rollout.Warning) (list []Warning) {
	for _, it := range warnings {
		list = append(list, Warning(it))
	}
	return list
}

// RunHosts returns the hosts of a run that began at started for the document.
func RunHosts(r *rollout.Run, started time.Time) []Host {
	hosts := make([]Host, len(r.Results))
	for i, res := range r.Results {
		h := entryHost(res.Entry)
		changed := res.Outcome.HasNew() && res.Action.Installs()
		h.Files, h.Package = filesOf(res.Entry, changed), packageOf(res.Entry, changed || res.Outcome == rollout.Restored && !res.Action.Installs())
		h.Evidence, h.Diagnostics = res.Evidence, diagnosticsOf(res)
		if text := achieved(res); text != "" {
			h.Notes = append(h.Notes, text)
		}
		h.Notes = append(h.Notes, res.Notes...)
		if res.Proof != "" {
			h.Proof = &res.Proof
		}
		if !res.SettlesAt.IsZero() {
			at := res.SettlesAt.UTC().Truncate(time.Second)
			h.SettlesAt = &at
		}
		for _, s := range res.Steps {
			h.Steps = append(h.Steps, Step{s.Name, s.OK, s.At.Sub(started).Milliseconds(), s.Took.Milliseconds()})
			h.DurationMS += s.Took.Milliseconds()
		}
		hosts[i] = h
	}
	return hosts
}

func entryHost(e rollout.Entry) Host {
	h := Host{Name: e.Host.Name, Address: e.Host.Address, Site: siteOf(e.Host), Steps: []Step{}, Action: string(e.Action), Reason: e.Reason, Error: e.Problem, Command: e.Command}
	if e.Outcome != "" {
		outcome := string(e.Outcome)
		h.Outcome = &outcome
	}
	if e.Wave > 0 {
		h.Wave = &e.Wave
	}
	if e.Seen != nil && e.Seen.Provider != nil {
		h.ClientID = shortText(e.Seen.Provider.ClientID)
	}
	h.Verified = e.Verified
	h.OpensAt, h.ClosesAt = windowTimes(e.Window)
	h.Notes = e.Remarks()
	if next := nextCertificate(e); next != nil {
		h.New = certificateOf(next)
	}
	switch {
	case e.Seen == nil:
		h.Note = "live certificate unknown: the host was not checked"
	case e.Seen.Live != nil:
		h.Old = certificateOf(e.Seen.Live)
	default:
		h.Note = e.Seen.LiveNote
	}
	return h
}

// siteOf returns the site of a host: its label site, or else its group.
func siteOf(h *inventory.Host) string { return shortText(h.Site()) }

func certificateOf(info *certificate.Info) *Certificate {
	if info == nil {
		return nil
	}
	return &Certificate{info.Thumbprint, info.SHA256, info.Subject, info.NotAfter.UTC()}
}

func unfinishedOf(e rollout.Entry) *Unfinished {
	r, unfinished := e.Seen.Unfinished()
	if !unfinished {
		return nil
	}
	u := &Unfinished{RunID: r.Run, Owner: r.Owner, State: r.State, AtWork: r.AtWork, PID: r.PID}
	if r.Armed {
		left := int(r.Left.Seconds())
		u.SecondsLeft = &left
	}
	return u
}

func unitOf(e rollout.Entry) *Unit {
	u := e.Seen.Unit
	unit := &Unit{Name: e.Host.Agent.Unit, Active: u.Active, Sub: u.Sub, File: u.File, Restarts: u.Restarts}
	if !u.Started.IsZero() {
		started := u.Started.UTC()
		unit.Started = &started
	}
	return unit
}
