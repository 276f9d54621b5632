package flowtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	enums "go.temporal.io/api/enums/v1"
	history "go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/devserver"
	"github.com/aoifleet/aoifleet/engine/internal/flow"
	"github.com/aoifleet/aoifleet/engine/internal/flowtest"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/engine/internal/site"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// server is a Temporal server with a control worker.
type server struct {
	t      *testing.T
	client client.Client
}

func newServer(t *testing.T) *server {
	s, err := devserver.Start(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	converters := codec.New(nil)
	c, err := client.DialContext(t.Context(), client.Options{HostPort: s.Address(), Identity: "test", Logger: quiet{}, DataConverter: converters.Data, FailureConverter: converters.Failure})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	control := worker.New(c, protocol.ControlQueue(), worker.Options{Identity: "control"})
	(&flow.Workflows{}).Register(control)
	if err := control.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(control.Stop)
	return &server{t, c}
}

type quiet struct{}

func (quiet) Debug(string, ...any) {}
func (quiet) Info(string, ...any)  {}
func (quiet) Warn(string, ...any)  {}
func (quiet) Error(string, ...any) {}

// sites starts workers for the sites of a fleet.
func (s *server) sites(f *flowtest.Fleet) {
	for i := range 3 {
		options := site.Options()
		options.Identity = "site"
		site := worker.New(s.client, protocol.SiteQueue(fmt.Sprintf("site%d", i)), options)
		f.Register(site)
		if err := site.Start(); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(site.Stop)
	}
}

// rollout carries out a plan in parts, and returns the number of parts and how it has ended.
func (s *server) rollout(f *flowtest.Fleet, policy rollout.Policy, most int) (run *rollout.Run, parts int) {
	s.t.Helper()
	plan := f.Plan(policy)
	divided, err := plan.Divide(most)
	if err != nil {
		s.t.Fatal(err)
	}
	in := protocol.RolloutInput{Version: protocol.Version, Run: protocol.Run{ID: flowtest.RunID, Owner: "o"}, Policy: policy, Hosts: len(f.VMs), Parts: len(divided)}
	started, err := s.client.ExecuteWorkflow(s.t.Context(), client.StartWorkflowOptions{ID: protocol.RolloutID, TaskQueue: protocol.ControlQueue()}, protocol.Rollout, in)
	if err != nil {
		s.t.Fatal(err)
	}
	for n, hosts := range divided {
		data := protocol.PartData{Of: flowtest.RunID, Number: n}
		for _, i := range hosts {
			data.Entries = append(data.Entries, plan.Entries[i].Data(i))
		}
		if err := s.client.SignalWorkflow(s.t.Context(), protocol.RolloutID, "", protocol.PartSignal, data); err != nil {
			s.t.Fatal(err)
		}
	}
	var result protocol.RolloutResult
	if err := started.Get(s.t.Context(), &result); err != nil || result.Problem != nil {
		s.t.Fatalf("%v %+v", err, result)
	}
	run = &rollout.Run{Results: make([]rollout.Result, len(f.VMs)), Stopped: result.Stopped}
	for n, hosts := range divided {
		for from := 0; from < len(hosts); {
			var page protocol.Reply[[]rollout.ResultData]
			q := protocol.Question{From: from}
			value, err := s.client.QueryWorkflow(s.t.Context(), protocol.PartID(flowtest.RunID, n), "", protocol.ResultsQuery, q)
			if err == nil {
				err = value.Get(&page)
			}
			if err != nil || len(page.Answer) == 0 {
				s.t.Fatal(err, len(page.Answer))
			}
			from += len(page.Answer)
			run.Fill(plan, page.Answer)
		}
	}
	return run, len(divided)
}

// history returns the events of a workflow.
func (s *server) history(id string) *history.History {
	s.t.Helper()
	h := &history.History{}
	for events := s.client.GetWorkflowHistory(s.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		event, err := events.Next()
		if err != nil {
			s.t.Fatal(err)
		}
		h.Events = append(h.Events, event)
	}
	return h
}

// replay replays a workflow that has run here.
func (s *server) replay(id string) *history.History {
	s.t.Helper()
	replayer, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: codec.New(nil).Data})
	if err != nil {
		s.t.Fatal(err)
	}
	(&flow.Workflows{}).Register(replayer)
	h := s.history(id)
	if err := replayer.ReplayWorkflowHistory(quiet{}, h); err != nil {
		s.t.Errorf("%s: %v", id, err)
	}
	return h
}

// local carries the same out in this process.
func local(t *testing.T, f *flowtest.Fleet, policy rollout.Policy) (run *rollout.Run) {
	synctest.Test(t, func(t *testing.T) {
		r := &rollout.Runner{Dial: f.Dial(flowtest.RunID), DialUndo: f.Dial(rollout.UndoID(flowtest.RunID)), RunID: flowtest.RunID, Events: func(rollout.Event) {}}
		defer r.Close()
		run = r.Apply(context.Background(), context.Background(), f.Plan(policy))
	})
	return run
}

func outcomes(r *rollout.Run) (list []rollout.Outcome) {
	for _, res := range r.Results {
		list = append(list, res.Outcome)
	}
	return list
}

// A rollout on a server ends as one of this process, and its histories can be replayed. With
// AOIFLEET_WRITE_DOCS they become those that package flow replays.
func TestOnAServer(t *testing.T) {
	s := newServer(t)
	fates := []flowtest.Fate{flowtest.Well, flowtest.LostThen, flowtest.Refuses, flowtest.Sick, flowtest.Well, flowtest.Undoes, flowtest.LostUndone, flowtest.Well, flowtest.Away, flowtest.Incurable, flowtest.Well, flowtest.Well}
	policy := rollout.Policy{Rollout: inventory.Rollout{Parallel: 2, Canary: 1, Batches: []inventory.Amount{inventory.Count(6)}, Soak: time.Second, MaxFailures: inventory.Count(1000)}}
	f := flowtest.New(fates...)
	s.sites(f)
	run, parts := s.rollout(f, policy, 6)
	want := local(t, flowtest.New(fates...), policy)
	if !slices.Equal(outcomes(run), outcomes(want)) {
		t.Errorf("%v, want %v", outcomes(run), outcomes(want))
	}
	s.write("rollout", s.replay(protocol.RolloutID))
	for n := range parts {
		s.write(fmt.Sprintf("part%d", n), s.replay(protocol.PartID(flowtest.RunID, n)))
	}
	survey := protocol.SurveyInput{Version: protocol.Version, Run: protocol.Run{ID: flowtest.RunID}}
	for _, e := range f.Plan(policy).Entries {
		survey.Hosts = append(survey.Hosts, rollout.DataOf(e.Host))
	}
	var reply protocol.Reply[[]protocol.LookData]
	started, err := s.client.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "survey", TaskQueue: protocol.ControlQueue()}, protocol.Survey, survey)
	if err == nil {
		err = started.Get(t.Context(), &reply)
	}
	looks := reply.Answer
	if err != nil || len(looks) != len(fates) || looks[0].Seen == nil || looks[0].Seen.File.Digest != "new" || looks[8].Problem == nil {
		t.Fatalf("%v %+v", err, looks)
	}
	s.write("survey", s.replay("survey"))
}

// write writes a history for package flow.
func (s *server) write(name string, h *history.History) {
	if os.Getenv("AOIFLEET_WRITE_DOCS") == "" {
		return
	}
	for _, event := range h.Events {
		if queue := event.GetWorkflowTaskScheduledEventAttributes().GetTaskQueue(); queue.GetKind() == enums.TASK_QUEUE_KIND_STICKY {
			queue.Name = "sticky" // it has the name of the machine
		}
	}
	text, err := protojson.Marshal(h)
	if err == nil {
		path := filepath.Join("..", "flow", "testdata", fmt.Sprintf("history-v%d-%s.json", protocol.Version, name))
		err = os.WriteFile(path, append(text, '\n'), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

// A worker takes all that the rollout's parallel allows at the same time: what waited for a slot of it
// would count as what no worker took.
func TestNoSlotIsWaitedFor(t *testing.T) {
	const hosts = 201 // 67 at each site
	s := newServer(t)
	f := flowtest.New(slices.Repeat([]flowtest.Fate{flowtest.Well}, hosts)...)
	s.sites(f)
	begun, all := atomic.Int32{}, make(chan struct{})
	f.During = func(activity, _ string) {
		if activity == protocol.Rotate {
			if begun.Add(1) == hosts {
				close(all)
			}
			<-all
		}
	}
	policy := rollout.Policy{Rollout: inventory.Rollout{Parallel: hosts, MaxFailures: inventory.Count(1)}}
	policy.Batches = []inventory.Amount{inventory.Count(hosts)}
	if run, _ := s.rollout(f, policy, protocol.MaxPart); run.Totals()[rollout.Rotated] != hosts {
		t.Error(run.Totals())
	}
}

// The history of a part grows with its hosts, within what the server allows: 51,200 events and
// 50 MiB.
func TestHistorySize(t *testing.T) {
	s := newServer(t)
	f := flowtest.New(slices.Repeat([]flowtest.Fate{flowtest.Well}, 200)...)
	s.sites(f)
	policy := rollout.Policy{Rollout: inventory.Rollout{Parallel: 20, Canary: 1, Batches: []inventory.Amount{inventory.Count(100)}, Soak: time.Minute, MaxFailures: inventory.Count(1)}}
	if run, _ := s.rollout(f, policy, protocol.MaxPart); run.Totals()[rollout.Rotated] != 200 {
		t.Error(run.Totals())
	}
	for _, id := range []string{protocol.RolloutID, protocol.PartID(flowtest.RunID, 0)} {
		h := s.replay(id)
		t.Logf("%s: %d events, %d bytes", id, len(h.Events), proto.Size(h))
		if strings.Contains(id, "part") && len(h.Events) > 20*200 {
			t.Errorf("%d events", len(h.Events))
		}
	}
}
