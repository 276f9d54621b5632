package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"github.com/aoifleet/aoifleet/engine/internal/connect"
	"github.com/aoifleet/aoifleet/engine/internal/devlab"
	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// program is the built aoifleet-engine, as machines have it: without dev.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "engine")
	if err == nil {
		program = filepath.Join(dir, "aoifleet-engine")
		var out []byte
		build := exec.Command("go", "build", "-tags=nodev", "-o", program, "../../cmd/aoifleet-engine")
		if out, err = build.CombinedOutput(); err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// engine is a server, the workers as processes of their own, and the fleet of two sites.
type engine struct {
	t      *testing.T
	dir    string
	lab    *devlab.Lab
	server *devserver.Server
	runs   map[string]*exec.Cmd // the workers: control, london, paris
	logs   *os.File
	client client.Client
	plan   *rollout.Plan
	run    protocol.Run
}

func start(t *testing.T) *engine {
	t.Helper()
	t.Parallel()
	e := &engine{t: t, dir: t.TempDir(), runs: map[string]*exec.Cmd{}}
	var err error
	if e.lab, err = devlab.Start(context.Background(), filepath.Join(e.dir, "lab"), func(text string) { t.Log("lab: ", text) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.lab.Close() })
	if e.server, err = devserver.Start(filepath.Join(e.dir, "temporal")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.server.Stop() })
	if e.logs, err = os.Create(filepath.Join(e.dir, "workers.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.logs.Close() })
	settings := connect.Settings{Address: e.server.Address(), Namespace: "default", PayloadKeys: e.lab.Keys("workstation")}
	e.eventually("a connection", time.Minute, func() bool {
		e.client, _, err = settings.Dial(t.Context(), nil)
		return err == nil
	})
	t.Cleanup(e.client.Close)
	return e
}

// worker starts a worker: the control worker, or that of a site. args may replace what it would have.
func (e *engine) worker(who string, args ...string) {
	e.t.Helper()
	all := []string{"control"}
	if who != "control" {
		all = []string{"worker", "--site", who, "-i", e.lab.Inventory(who)}
	}
	if all = append(all, args...); !strings.Contains(strings.Join(args, " "), "--p") { // plaintext, payload-keys
		all = append(all, "--payload-keys", e.lab.Keys(who))
	}
	if !strings.Contains(strings.Join(all, " "), "--address") {
		all = append(all, "--address", e.server.Address())
	}
	cmd := exec.Command(program, all...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = e.dir, e.logs, e.logs
	cmd.Env = []string{"HOME=" + e.dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.runs[who] = cmd
	e.t.Cleanup(func() { e.kill(who) })
}

// workers starts all three.
func (e *engine) workers() {
	for _, who := range append([]string{"control"}, devlab.Sites...) {
		e.worker(who)
	}
}

// kill ends a worker as power does.
func (e *engine) kill(who string) {
	if cmd := e.runs[who]; cmd != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		e.runs[who] = nil
	}
}

// eventually waits until reached is true.
func (e *engine) eventually(what string, limit time.Duration, reached func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(limit); !reached(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: not within %v\n%s", what, limit, e.log())
		}
	}
}

func (e *engine) log() string {
	text, _ := os.ReadFile(e.logs.Name())
	return string(text)
}

// makePlan surveys the fleet through the engine, and makes the plan of a rotation.
func (e *engine) makePlan() {
	e.t.Helper()
	f, err := fleet.Open(e.t.Context(), fleet.Caller{Owner: "operator@workstation", Getenv: func(string) string { return "" }, Say: func(string) {}, Event: func(rollout.Event) {}, Contact: func(int) {}},
		fleet.Request{Inventory: e.lab.Inventory("workstation"), Certificates: fleet.Install, NoLogin: true})
	if err != nil {
		e.t.Fatal(err)
	}
	defer f.Close()
	e.run = protocol.Run{ID: f.RunID(), Owner: "operator@workstation", Tool: "test"}
	in := protocol.SurveyInput{Version: protocol.Version, Run: e.run}
	for _, t := range f.Targets {
		in.Hosts = append(in.Hosts, rollout.DataOf(t.Host))
	}
	run, err := e.client.ExecuteWorkflow(e.t.Context(), client.StartWorkflowOptions{ID: protocol.SurveyID(e.run.ID, 0), TaskQueue: protocol.ControlQueue()}, protocol.Survey, in)
	var data protocol.Reply[[]protocol.LookData]
	if err == nil {
		err = run.Get(e.t.Context(), &data)
	}
	if err != nil {
		e.t.Fatal(err, e.log())
	}
	looks := make([]rollout.Look, len(data.Answer))
	for i, d := range data.Answer {
		if looks[i].Seen = d.Seen; d.Problem != nil {
			looks[i].Err = d.Problem
		}
	}
	plan := rollout.Make(f.Targets, looks, rollout.Policy{Rollout: f.Inventory.Rollout, Now: time.Now()})
	e.plan = rollout.PlanOf(plan.Entries, plan.Policy, plan.Unaccepted)
}

// begin starts the rollout.
func (e *engine) begin() client.WorkflowRun {
	e.t.Helper()
	parts, err := e.plan.Divide(protocol.MaxPart)
	if err != nil {
		e.t.Fatal(err)
	}
	in := protocol.RolloutInput{Version: protocol.Version, Run: e.run, PlanID: "plan", Policy: e.plan.Policy, Hosts: len(e.plan.Entries), Parts: len(parts)}
	run, err := e.client.ExecuteWorkflow(e.t.Context(), client.StartWorkflowOptions{ID: protocol.RolloutID, TaskQueue: protocol.ControlQueue()}, protocol.Rollout, in)
	for n, hosts := range parts {
		data := protocol.PartData{Of: e.run.ID, Number: n}
		for _, i := range hosts {
			data.Entries = append(data.Entries, e.plan.Entries[i].Data(i))
		}
		if err == nil {
			err = e.client.SignalWorkflow(e.t.Context(), protocol.RolloutID, "", protocol.PartSignal, data)
		}
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return run
}

// state returns where the rollout stands; nothing while no one answers.
func (e *engine) state() protocol.RolloutState {
	var s protocol.Reply[protocol.RolloutState]
	ctx, cancel := context.WithTimeout(e.t.Context(), 5*time.Second)
	defer cancel()
	value, err := e.client.QueryWorkflow(ctx, protocol.RolloutID, "", protocol.StateQuery, protocol.Question{})
	if err == nil {
		_ = value.Get(&s)
	}
	return s.Answer
}

// lost reports whether a worker is taken for lost in the part of a plan.
func (e *engine) lost() bool {
	history := e.client.GetWorkflowHistory(e.t.Context(), protocol.PartID(e.run.ID, 0), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for history.HasNext() {
		if event, err := history.Next(); err == nil && event.EventType == enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT {
			return true
		}
	}
	return false
}

// end waits for the end of the rollout and returns its outcomes by host, which must be the truth.
func (e *engine) end(run client.WorkflowRun) map[string]rollout.Outcome {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), 5*time.Minute)
	defer cancel()
	var result protocol.RolloutResult
	if err := run.Get(ctx, &result); err != nil || result.Problem != nil {
		e.t.Fatalf("%v, %+v\n%s", err, result, e.log())
	}
	whole := &rollout.Run{Results: make([]rollout.Result, len(e.plan.Entries)), Stopped: result.Stopped}
	for i := range whole.Results {
		whole.Results[i].Entry, whole.Results[i].Outcome = e.plan.Entries[i], rollout.Skipped
	}
	for part := range e.parts() {
		var page protocol.Reply[[]rollout.ResultData]
		id := protocol.PartID(e.run.ID, part)
		value, err := e.client.QueryWorkflow(ctx, id, "", protocol.ResultsQuery, protocol.Question{})
		if err == nil {
			err = value.Get(&page)
		}
		if err != nil {
			e.t.Fatal(err)
		}
		whole.Fill(e.plan, page.Answer)
	}
	outcomes := map[string]rollout.Outcome{}
	for _, res := range whole.Results {
		outcomes[res.Host.Name] = res.Outcome
		if res.Problem != nil {
			e.t.Logf("%s is %s: %+v, %v", res.Host.Name, res.Outcome, *res.Problem, res.Notes)
		}
		e.check(res)
	}
	e.t.Log(whole.Totals())
	return outcomes
}

func (e *engine) parts() [][]int {
	parts, _ := e.plan.Divide(protocol.MaxPart)
	return parts
}

// machine returns a VM.
func (e *engine) machine(name string) *lab.Machine {
	for _, f := range e.lab.Fleets {
		if m := f.Machine(name); m != nil {
			return m
		}
	}
	return nil
}

// check compares the result of a host with what is there: the old certificate or the new one, with
// a healthy agent that has started since, as the result says.
func (e *engine) check(res rollout.Result) {
	e.t.Helper()
	m := e.machine(res.Host.Name)
	e.eventually(res.Host.Name+" to be at rest", time.Minute, func() bool { return !inHand(m) && m.AgentState().Active == "active" })
	live, site := m.LiveThumbprint(), e.lab.Fleets[devlab.Sites[0]]
	isNew := live == site.NewThumbprint()
	if !isNew && live != site.OldThumbprint() {
		e.t.Errorf("%s has %q", m.Name, live)
	}
	if res.Outcome == rollout.Failed || res.Outcome == rollout.Unknown && res.SettlesAt.IsZero() || res.Outcome != rollout.Unknown && isNew != res.Outcome.HasNew() {
		e.t.Errorf("%s is %s, and the new certificate is live: %v (%+v, %v)\n%s", m.Name, res.Outcome, isNew, res.Problem, res.Notes, e.log())
	}
}

// inHand reports whether a transaction on a VM has not ended.
func inHand(m *lab.Machine) bool {
	for _, state := range []string{"pending", "undoing"} {
		if found, _ := filepath.Glob(filepath.Join(m.Root, "var/lib/aoifleet/*", state)); len(found) > 0 {
			return true
		}
	}
	return false
}

// proxy passes connections on, until it is cut.
type proxy struct {
	listener net.Listener
	to       string
	mu       sync.Mutex
	cut      bool
	open     []net.Conn
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to}
	t.Cleanup(func() { _ = l.Close(); p.set(true) })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.pass(c)
		}
	}()
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) pass(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	far, err := net.Dial("tcp", p.to)
	if p.cut || err != nil {
		_ = c.Close()
		return
	}
	p.open = append(p.open, c, far)
	for _, pair := range [][2]net.Conn{{c, far}, {far, c}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		}()
	}
}

// set cuts the connections, and allows no new one until it is set back.
func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = cut; cut {
		for _, c := range p.open {
			_ = c.Close()
		}
		p.open = nil
	}
}

// secrets returns what must be in no history: the certificate's file and its key, and the keys and the
// password that log in, each file also in parts, because a database divides what it stores.
func (e *engine) secrets() map[string][]byte {
	list := map[string][]byte{"the password": []byte(password)}
	for _, who := range append([]string{"workstation"}, devlab.Sites...) {
		for _, name := range []string{"certs/new.p12.b64", "id_ed25519", "payload-keys"} {
			data, err := os.ReadFile(filepath.Join(e.lab.Dir, who, name))
			if err != nil {
				continue
			}
			for at := 40; at+60 < len(data); at += 200 {
				list[fmt.Sprint(who, "/", name, " at ", at)] = data[at : at+24]
			}
		}
	}
	return list
}

// restart starts the server again with its data.
func restart(e *engine) (*devserver.Server, error) {
	return devserver.Start(filepath.Join(e.dir, "temporal"))
}
