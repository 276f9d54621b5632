// Package host operates one agent VM: it observes the host, stages a certificate file,
// rotates the file in one transaction, and undoes the transaction if it fails. The host's
// side is host.sh (script/), which handles files, their new bytes and a unit; only the Go
// side reads certificates.
package host

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

// Limits on steps that wait only for the host. A look includes two runs of openssl of at
// most ten seconds each.
const (
	lookTimeout  = 45 * time.Second
	stageTimeout = 60 * time.Second
	// unstageTimeout limits the removal of a copy that root did not take over; it starts
	// anew after all other limits.
	unstageTimeout = 10 * time.Second
)

// BuiltinDeny are the built-in POSIX extended regular expressions of denied lines: log
// lines which show that the agent is refused (docs/inventory.md).
var BuiltinDeny = []string{
	`AADSTS[0-9]+`,
	`[Ff]ailed to authenticate|authentication failed|invalid_client|unauthorized_client`,
	`cannot (load|read) .*(P12|PKCS|certificate)`,
}

// VM is one agent VM over one connection. It is not safe for concurrent use.
type VM struct {
	conn       *remote.Conn
	host       inventory.Host
	run        Run
	password   *Password // sudo's; nil: it needs none
	stage      string    // the login user's staging folder, while it exists
	shell      *shell    // nil: none is open
	moreAnswer int64     // bytes of a call's output above maxAnswer
	hurry      int       // divides every time limit, in tests that wait for one; else 1
	unit       Unit      // as last observed
}

// Run identifies a run of the program.
type Run struct {
	ID     string // letters, digits and dashes, starts with the day: 20261123-…
	Owner  string // shown with its receipts on a host
	Stages bool   // Stage follows Observe and may be prepared meanwhile
}

// New returns a VM for the host behind conn, which Close closes. password is sudo's, which
// hosts with the same source share; nil if sudo needs none.
func New(conn *remote.Conn, h inventory.Host, run Run, password *Password) *VM {
	return &VM{conn: conn, host: h, run: run, password: password, hurry: 1}
}

// DialContext connects from the host to address, host:port; the host resolves the name.
// See remote.Conn.
func (v *VM) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return v.conn.DialContext(ctx, network, address)
}

// Close ends the connection.
func (v *VM) Close() error {
	err := v.conn.Close()
	v.hangUp()
	return err
}

// within limits a call that waits for the host, wherever the host blocks.
func (v *VM) within(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, limit/time.Duration(v.hurry))
}

// do runs a verb of host.sh that needs no answers, and returns its output.
func (v *VM) do(ctx context.Context, timeout time.Duration, verb string, values []value) ([]byte, error) {
	ctx, cancel := v.within(ctx, timeout+v.sudoTime())
	defer cancel()
	var said bytes.Buffer
	err := v.ask(ctx, verb, values, func(line string) {
		said.WriteString(line)
		said.WriteByte('\n')
	})
	first, _, _ := strings.Cut(said.String(), "\n")
	return said.Bytes(), v.notRun(ctx, err, first)
}

// ObserveOptions are the optional parts of an observation.
type ObserveOptions struct {
	Saved string // a run whose backup is read; "": none
	// Configuration also reads the agent's configuration as a file: Observation.Configuration.
	// Then a problem of its text is Observation.Unnamed, and no error.
	Configuration bool
	// Certificate is the path of the certificate, instead of the one that the agent's
	// configuration on the host names; "": that one.
	Certificate string
	Trust       bool // Certificate is the operator's, not from what the host has sent
	// Files are paths of further files: Observation.Others. The agent's configuration names them,
	// so a path that its user can have chosen may only lead to that user's own file.
	Files   []string
	Bytes   bool // also read the bytes of Files: Observation.Contents
	Latest  bool // what only status shows: Observation.Latest
	Command bool // run health.command, which may take up to health.timeout
}

// Observe reads the state of the host and changes nothing. It runs health.command only if
// the agent runs.
//
// The Observation is nil only if the host could not be read. If it is not nil, an error
// means that the host can't be rotated as it is (class configuration).
func (v *VM) Observe(ctx context.Context, options ObserveOptions) (*Observation, error) {
	o, err := v.observe(ctx, options)
	if o != nil && options.Latest {
		o.Latest = v.latest(ctx)
	}
	if err == nil && options.Command && o.Unit.Runs() {
		if o.Command, err = v.healthCommand(ctx); err != nil {
			return nil, err
		}
	}
	return o, err
}

func (v *VM) observe(ctx context.Context, options ObserveOptions) (*Observation, error) {
	agent := v.host.Agent
	agent.CertificatePath = cmp.Or(options.Certificate, agent.CertificatePath)
	f, err := v.look(ctx, agent.CertificatePath, agent, options)
	if err != nil {
		return nil, err
	}
	f.addSaved(options.Saved)
	o, err := f.observation(agent)
	v.unit = o.Unit
	o.HostKey = v.conn.HostKeyFingerprint()
	o.Note = f.note
	if err != nil || o.Provider == nil {
		return o, err
	}
	file := f.file(o.Provider.Path)
	if file == nil {
		// The script does not find a path in every form that YAML allows.
		options.Configuration, options.Files = false, nil
		if f, err = v.look(ctx, o.Provider.Path, agent, options); err != nil {
			return o, err
		}
		if file = f.file(o.Provider.Path); file == nil {
			return o, &problem.Error{Class: problem.Command, Message: "the host did not report " + clean(o.Provider.Path)}
		}
	}
	o.describe(file)
	return o, nil
}

func (v *VM) look(ctx context.Context, path string, agent inventory.Agent, options ObserveOptions) (*found, error) {
	values := append(v.common(), value{"config", agent.Config}, value{"saved", options.Saved},
		value{"by_inventory", yes(v.host.Agent.CertificatePath != "" || options.Trust)})
	if options.Configuration { // an earlier script does not know the key
		values = append(values, value{"configuration", "yes"})
	}
	if path != "" {
		values = append(values, value{"path", path})
	}
	for _, other := range options.Files {
		values = append(values, value{"also", other})
	}
	if options.Bytes && len(options.Files) > 0 {
		values = append(values, value{"whole", "yes"})
	}
	if v.run.Stages {
		v.conn.Prefetch()
	}
	out, err := v.do(ctx, lookTimeout, "observe", values)
	if err != nil {
		return nil, err
	}
	f := parseFound(out)
	if f.note, err = v.checkHelper(f); err != nil {
		return nil, err
	}
	if msg, ok := f.fields["error"]; ok {
		if p := hostSaid(msg); !options.Configuration || !v.helper() || p.Class != problem.Internal {
			return nil, p
		}
		return nil, oldHelper()
	}
	if !f.done {
		return nil, cutShort(out)
	}
	return f, nil
}

// common returns the values that every verb needs.
func (v *VM) common() []value {
	unit := cmp.Or(v.unit.ID, v.host.Agent.Unit)
	values := []value{{"run", v.run.ID}, {"owner", clean(v.run.Owner)}, {"unit", unit}, {"log", v.host.Agent.Log}}
	for _, p := range v.deny() {
		values = append(values, value{"deny", p})
	}
	return values
}

func (v *VM) deny() []string {
	var patterns []string
	if v.host.Health.DenyDefault {
		patterns = append(patterns, BuiltinDeny...)
	}
	return append(patterns, v.host.Health.Deny...)
}

// hostSaid parses an error of host.sh, `CLASS MESSAGE`.
func hostSaid(text string) *problem.Error {
	word, message, _ := strings.Cut(text, " ")
	class := problem.Class(word)
	switch class {
	case problem.Disk, problem.Drift, problem.Locked, problem.Sudo, problem.AgentNotRunning, problem.Unhealthy,
		problem.Configuration, problem.Command, problem.Unreachable, problem.Timeout:
	default:
		class = problem.Internal
	}
	p := &problem.Error{Class: class, Message: cmp.Or(display.Sanitise(message, 600), "the host gave no reason")}
	if strings.HasPrefix(message, "cannot arm the dead-man switch") {
		p.Hint = "--no-deadman continues without it"
	}
	if strings.HasPrefix(message, noExec.message()) {
		p.Hint = noExecHint
	}
	if strings.HasPrefix(message, "neither the agent's configuration nor ") {
		p.Hint = "an administrator of the host adds the line path=PATH to /etc/aoifleet/helper.conf"
	}
	if class == problem.AgentNotRunning && strings.HasPrefix(message, "an operator stopped ") {
		p.Hint = "the unit was left stopped: start it, then rotate again"
	}
	return p
}

// Stage copies data to the host, into the tool's own root-only folder. It changes nothing
// that the agent reads. Discard removes it.
func (v *VM) Stage(ctx context.Context, data []byte, digest string) error {
	dir, err := v.upload(ctx, data)
	if err != nil {
		return err
	}
	v.stage = dir
	values := append(v.common(), value{"source", dir}, value{"size", strconv.Itoa(len(data))}, value{"new", digest})
	out, err := v.do(ctx, stageTimeout, "stage", values)
	if err != nil {
		v.unstage()
		return err
	}
	f := parseFound(out)
	if f.fields["result"] == "staged" {
		v.stage = ""
		return nil
	}
	v.unstage()
	if msg, ok := f.fields["error"]; ok {
		return hostSaid(msg)
	}
	return cutShort(out)
}

// upload copies data into a private folder of the login user.
func (v *VM) upload(ctx context.Context, data []byte) (dir string, err error) {
	ctx, cancel := v.within(ctx, stageTimeout)
	defer cancel()
	dir = v.stagingFolder()
	err = v.conn.Put(ctx, dir, "certificate", data)
	if errors.Is(err, fs.ErrPermission) {
		// The login user can't write the login directory. The folder is created
		// exclusively and is private, so it may be in /tmp.
		dir = "/tmp/" + dir
		err = v.conn.Put(ctx, dir, "certificate", data)
	}
	return dir, err
}

func (v *VM) stagingFolder() string { return ".aoifleet-" + v.run.ID }

// unstage removes the login user's copy if host.sh did not.
func (v *VM) unstage() {
	if v.stage == "" {
		return
	}
	ctx, cancel := v.within(context.Background(), unstageTimeout)
	defer cancel()
	if v.conn.Remove(ctx, v.stage, "certificate") == nil {
		v.stage = ""
	}
}

// MakeFolder creates the folder of a file for the agent's user, with mode 0700, if it is missing,
// and returns the facts of the file. See File.Makeable.
func (v *VM) MakeFolder(ctx context.Context, path string) (File, error) {
	values := append(v.common(), value{"config", v.host.Agent.Config}, value{"path", path})
	out, err := v.do(ctx, stageTimeout, "makefolder", values)
	if err != nil {
		return File{}, err
	}
	f := parseFound(out)
	if msg, ok := f.fields["error"]; ok {
		return File{}, hostSaid(msg)
	}
	if f.fields["result"] != "made" || len(f.others) != 1 || f.others[0].path != path {
		return File{}, cutShort(out)
	}
	file := f.others[0].facts()
	if p := file.Problem(); p != nil {
		return file, p
	}
	return file, nil
}

// Discard removes a staged file that was not used; the VM may have a new connection.
func (v *VM) Discard(ctx context.Context) error {
	v.stage = v.stagingFolder()
	v.unstage()
	out, err := v.do(ctx, stageTimeout, "discard", v.common())
	if err != nil {
		return err
	}
	if parseFound(out).fields["result"] != "discarded" {
		return fmt.Errorf("can't remove the staged file: %s", firstLine(string(out)))
	}
	return nil
}

// Prune removes backups beyond those that the inventory keeps, and returns how many.
func (v *VM) Prune(ctx context.Context) (removed int, err error) {
	out, err := v.do(ctx, stageTimeout, "prune", append(v.common(), v.kept()...))
	if err != nil {
		return 0, err
	}
	f := parseFound(out)
	if msg, ok := f.fields["error"]; ok {
		return 0, hostSaid(msg)
	}
	removed, err = strconv.Atoi(f.fields["removed"])
	if f.fields["result"] != "pruned" || err != nil {
		return 0, cutShort(out)
	}
	return removed, nil
}

// kept returns the values for the backups that stay.
func (v *VM) kept() []value {
	return []value{{"keep", strconv.Itoa(v.host.Backups.Keep)}, {"max_age", strconv.Itoa(int(v.host.Backups.MaxAge.Hours() / 24))}}
}
