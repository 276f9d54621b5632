package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/engine/internal/flow"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// site is a site whose hosts are all well.
type site struct {
	rotated atomic.Int32
	gate    chan struct{} // a rotation waits for it
	said    []string      // the evidence of a rotation
}

func (s *site) register(on worker.Worker) {
	answer := func(context.Context, protocol.OneHost) (protocol.Answer, error) { return protocol.Answer{}, nil }
	for name, do := range map[string]any{
		protocol.ObserveMany: func(_ context.Context, in protocol.ManyHosts) (looks []protocol.LookData, _ error) {
			for _, h := range in.Hosts {
				looks = append(looks, protocol.LookData{Seen: seen("seen " + h.Name)})
			}
			return looks, nil
		},
		protocol.Observe: func(context.Context, protocol.OneHost) (protocol.LookData, error) {
			return protocol.LookData{Seen: seen("")}, nil
		},
		protocol.Stage: answer, protocol.Discard: answer,
		protocol.Rotate: func(context.Context, protocol.OneHost) (*host.Report, error) {
			<-s.gate
			s.rotated.Add(1)
			return &host.Report{Ending: host.Rotated, Proof: rollout.LogClean, Evidence: s.said}, nil
		},
		protocol.SoakMany: func(context.Context, protocol.SoakHosts) (protocol.Soaked, error) {
			return protocol.Soaked{Over: true}, nil
		},
	} {
		on.RegisterActivityWithOptions(do, activity.RegisterOptions{Name: name})
	}
}

func seen(note string) *host.Observation {
	return &host.Observation{Note: note, Clock: time.Now(), Unit: host.Unit{ID: "a.service", Type: "simple", Load: "loaded", Active: "active", Sub: "running", File: "enabled"},
		Provider: &host.Provider{Name: "p", ClientID: "c", Path: "/c.p12"}, File: host.File{Path: "/c.p12", Real: "/c.p12", Kind: "file", Digest: "old"},
		Live: &certificate.Info{Thumbprint: "OLD"}, Space: 1 << 30}
}

// talking returns a function that asks a program of its own, as aoifleet does.
func talking(t *testing.T, server client.Client, data converter.DataConverter) func(engine.Request) engine.Answer {
	t.Helper()
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		c := New(server, "default", data)
		ended <- c.Talk(context.Background(), in, out, "dev")
	}()
	t.Cleanup(func() {
		_ = ask.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewReader(answers)
	var hello engine.Hello
	read := func(v any) {
		t.Helper()
		line, err := lines.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if read(&hello); hello.Protocol != engine.Protocol {
		t.Fatalf("%+v", hello)
	}
	id := 0
	return func(r engine.Request) (a engine.Answer) {
		t.Helper()
		id++
		r.ID = id
		if err := json.NewEncoder(ask).Encode(r); err != nil {
			t.Fatal(err)
		}
		if read(&a); a.ID != id {
			t.Fatalf("answer %d to %d", a.ID, id)
		}
		return a
	}
}

// connect connects with some payload keys, which are always the same.
func connect(t *testing.T, server *devserver.Server, names ...string) (codec.Converters, client.Client) {
	t.Helper()
	text := ""
	for _, name := range names {
		key := sha256.Sum256([]byte(name))
		text += name + " " + base64.StdEncoding.EncodeToString(key[:]) + "\n"
	}
	ring, err := codec.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	keys := codec.New(ring)
	c, err := client.Dial(client.Options{HostPort: server.Address(), DataConverter: keys.Data, FailureConverter: keys.Failure})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return keys, c
}

// running starts a server, a control worker, and a worker of the site.
func running(t *testing.T, s *site) (codec.Converters, client.Client) {
	t.Helper()
	server, err := devserver.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	keys, c := connect(t, server, "control", "site-north")
	_, atSite := connect(t, server, "site-north")
	patient := worker.Options{DeadlockDetectionTimeout: time.Minute} // the machine may be busy
	control := worker.New(c, protocol.ControlQueue(), patient)
	north := worker.New(atSite, protocol.SiteQueue("north"), worker.Options{})
	(&flow.Workflows{Converter: keys.ToSite}).Register(control)
	s.register(north)
	for _, w := range []worker.Worker{control, north} {
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
	}
	return keys, c
}

// A rollout is begun, found by another process, steered, and read at its end.
func TestRollout(t *testing.T) {
	s := &site{gate: make(chan struct{})}
	keys, c := running(t, s)
	do, other := talking(t, c, keys.Data), talking(t, c, keys.Data)
	well := func(a engine.Answer) engine.Answer {
		t.Helper()
		if a.Problem != nil {
			t.Fatal(a.Problem, a.Problem.Hint)
		}
		return a
	}

	run := engine.Run{ID: "20261123-084512-K3F9", Owner: "o@w", Tool: "dev"}
	var hosts []rollout.HostData
	parts := []engine.Part{{Number: 0}, {Number: 1}}
	for i, name := range []string{"a", "b", "c"} {
		h := &inventory.Host{Name: name, Address: "192.0.2.1:22", Group: "north", Agent: inventory.Agent{Unit: "a.service"}, Health: inventory.Health{Timeout: time.Second}}
		hosts = append(hosts, rollout.DataOf(h))
		e := rollout.Entry{Target: rollout.Target{Host: h, Certificate: certificate.Known(certificate.Info{Thumbprint: "NEW"}, "new")}, Seen: seen(""), Action: rollout.Rotate, Wave: min(i+1, 2)}
		parts[i/2].Entries = append(parts[i/2].Entries, e.Data(i))
	}
	if a := well(do(engine.Request{Do: engine.DoSurvey, Run: run, Hosts: hosts})); len(a.Looks) != 3 || a.Looks[2].Seen == nil || a.Looks[2].Seen.Note != "seen c" {
		t.Errorf("survey: %+v", a.Looks)
	}
	if a := well(do(engine.Request{Do: engine.DoCurrent})); a.State != nil {
		t.Errorf("before: %+v", a.State)
	}
	policy := rollout.Policy{Rollout: inventory.Rollout{Parallel: 2, Canary: 1, Batches: []inventory.Amount{inventory.Percent(100)}, MaxFailures: inventory.Count(1)}, PauseAfter: rollout.AfterCanary}
	begin := engine.Request{Do: engine.DoBegin, Run: run, Begin: &engine.Begin{PlanID: "plan", Policy: policy, Hosts: 3, Parts: 2}}
	well(do(begin))
	well(do(begin)) // the answer to the first may have been lost
	second := begin
	second.Run.ID = "20261123-084512-XXXX"
	if a := other(second); a.Problem == nil || a.Problem.Class != problem.Locked {
		t.Errorf("another one: %+v", a.Problem)
	}
	for i := range parts {
		well(do(engine.Request{Do: engine.DoPart, Run: run, Part: &parts[i]}))
	}
	until := func(reached func(*engine.State) bool) (state *engine.State) {
		t.Helper()
		for state == nil || !reached(state) {
			state = well(other(engine.Request{Do: engine.DoState, Run: run})).State
		}
		return state
	}
	until(func(s *engine.State) bool { return s.Step == "wave" && s.Parts == 2 })
	if s := well(other(engine.Request{Do: engine.DoCurrent})).State; s == nil || s.Run != run || s.PlanID != "plan" || s.Hosts != 3 {
		t.Errorf("current: %+v", s)
	}
	if a := well(other(engine.Request{Do: engine.DoResults, Run: run, N: 1})); len(a.Results) != 1 || a.Results[0].Host.Name != "c" || a.Results[0].Index != 2 || a.Results[0].Outcome != "" {
		t.Errorf("results before the end: %+v", a.Results)
	}
	well(other(engine.Request{Do: engine.DoSignal, Run: run, Signal: "pause"}))
	until(func(s *engine.State) bool { return s.Paused })
	close(s.gate)
	until(func(s *engine.State) bool { return s.Asks == 1 })
	well(other(engine.Request{Do: engine.DoSignal, Run: run, Signal: "approve", N: 1}))
	until(func(s *engine.State) bool { return s.Wave == 2 })
	if n := s.rotated.Load(); n != 1 {
		t.Errorf("%d hosts were changed in a pause", n)
	}
	well(other(engine.Request{Do: engine.DoSignal, Run: run, Signal: "resume"}))
	end := until(func(s *engine.State) bool { return s.Result != nil })
	if r := end.Result; r.Problem != nil || r.Stopped || r.Interrupted || end.Totals[rollout.Rotated] != 3 {
		t.Errorf("%+v %+v", end, r)
	}
	// Once it is over, and its workers have forgotten it.
	worker.PurgeStickyWorkflowCache()
	if a := well(do(engine.Request{Do: engine.DoStates, Run: run})); len(a.States) != 2 || a.States[1].Outcome != rollout.Rotated || a.States[1].Proof != rollout.LogClean {
		t.Errorf("states: %+v", a.States)
	}
	if a := well(do(engine.Request{Do: engine.DoResults, Run: run, From: 1})); len(a.Results) != 1 || a.Results[0].Host.Name != "b" || a.Results[0].Outcome != rollout.Rotated {
		t.Errorf("results: %+v", a.Results)
	}
	if a := well(do(engine.Request{Do: engine.DoCurrent})); a.State != nil {
		t.Errorf("after: %+v", a.State)
	}
	for a := (engine.Answer{}); len(a.List) != 1; { // the list is kept up to date a little later
		if a = well(other(engine.Request{Do: engine.DoList, N: 5})); len(a.List) == 1 && (a.List[0].Run != run || a.List[0].Result == nil) {
			t.Errorf("list: %+v", a.List)
		}
	}
	fresh := talking(t, c, keys.Data)
	if a := well(fresh(engine.Request{Do: engine.DoState, Run: run})); a.State.Run != run {
		t.Errorf("found later: %+v", a.State)
	}
	for _, bad := range []engine.Request{{Do: engine.DoState, Run: second.Run}, {Do: engine.DoState, Run: engine.Run{ID: "' OR ''='"}}, {Do: engine.DoStates, Run: engine.Run{ID: "x"}},
		{Do: engine.DoSignal, Run: run, Signal: "end"}, {Do: engine.DoPart, Run: run}, {Do: engine.DoBegin, Run: run}, {Do: "what"}} {
		if a := fresh(bad); a.Problem == nil || a.Problem.Class != problem.Usage {
			t.Errorf("%+v: %+v", bad, a.Problem)
		}
	}
}

// copier is a server whose answer to each query is a copy of that to the first.
type copier struct {
	client.Client
	data  converter.DataConverter
	first *commonpb.Payloads
}

func (c *copier) QueryWorkflow(_ context.Context, _, _, _ string, args ...any) (converter.EncodedValue, error) {
	var err error
	if c.first == nil {
		states := []protocol.HostState{{State: rollout.State{Outcome: rollout.Rotated}}}
		c.first, err = c.data.ToPayloads(protocol.ReplyTo(args[0].(protocol.Question).Asked, states))
	}
	return c, err
}

func (c *copier) HasValue() bool { return true }

func (c *copier) Get(to any) error { return c.data.FromPayloads(c.first, to) }

// A workstation with other payload keys is told so, at once.
func TestOtherPayloadKeys(t *testing.T) {
	server, err := devserver.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	keys, c := connect(t, server, "control")
	control := worker.New(c, protocol.ControlQueue(), worker.Options{DeadlockDetectionTimeout: time.Minute})
	(&flow.Workflows{Converter: keys.ToSite}).Register(control)
	if err := control.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Stop)
	run := engine.Run{ID: "20261123-084512-K3F9", Owner: "o@w", Tool: "dev"}
	begin := engine.Request{Do: engine.DoBegin, Run: run, Begin: &engine.Begin{PlanID: "plan",
		Policy: rollout.Policy{Rollout: inventory.Rollout{Parallel: 1}}, Hosts: 1, Parts: 1}}
	if a := talking(t, c, keys.Data)(begin); a.Problem != nil {
		t.Fatal(a.Problem)
	}
	others, other := connect(t, server, "other")
	do := talking(t, other, others.Data)
	hosts := []rollout.HostData{{Name: "a", Labels: map[string]string{"site": "north"}}}
	survey := engine.Request{Do: engine.DoSurvey, Run: run, Hosts: hosts}
	for _, r := range []engine.Request{survey, {Do: engine.DoCurrent}, {Do: engine.DoList, N: 1}} {
		begun := time.Now()
		p := do(r).Problem
		if p == nil || !strings.Contains(p.Message, "can't read each other") || !strings.Contains(p.Hint, "payload keys") ||
			time.Since(begun) >= answerTime {
			t.Errorf("%s: %+v after %s", r.Do, p, time.Since(begun))
		}
	}
	// The run is there, and is not named among what can be read.
	p := do(engine.Request{Do: engine.DoSignal, Run: run, Signal: protocol.StopSignal}).Problem
	if p == nil || !strings.Contains(p.Message, "among those that this program can read") ||
		!strings.Contains(p.Hint, "payload keys") {
		t.Errorf("%+v", p)
	}
}

// The copy of an answer is none, and neither is the copy of a question.
func TestCopiedAnswer(t *testing.T) {
	data := converter.GetDefaultDataConverter()
	server := &copier{data: data}
	c := New(server, "default", data)
	ask := func() engine.Answer {
		return c.answer(t.Context(), engine.Request{Do: engine.DoStates, Run: engine.Run{ID: "20261123-084512-K3F9"}})
	}
	if a := ask(); a.Problem != nil || len(a.States) != 1 || a.States[0].Outcome != rollout.Rotated {
		t.Fatalf("%+v", a)
	}
	if a := ask(); a.Problem == nil || a.Problem.Class != problem.Unexpected || a.States != nil {
		t.Errorf("a copy: %+v", a)
	}
	var reply protocol.Reply[[]protocol.HostState]
	question, err := data.ToPayload(protocol.Question{Asked: "this"})
	if err == nil {
		err = data.FromPayload(question, &reply)
	}
	if _, wrong := reply.Of("this"); err != nil || wrong == nil {
		t.Errorf("%+v, %v, %v", reply, wrong, err)
	}
}

// A line that is no request ends the program.
func TestNoRequest(t *testing.T) {
	var out bytes.Buffer
	c := New(nil, "", nil)
	if err := c.Talk(t.Context(), strings.NewReader("what\n"), &out, "dev"); err == nil || !strings.HasPrefix(out.String(), `{"protocol":1`) {
		t.Errorf("%v\n%s", err, out.String())
	}
}
