package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/planfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// fakeTalker is aoifleet-engine talk: it connects its standard streams with the fake server.
func fakeTalker() {
	conn, err := net.Dial("unix", os.Getenv("FAKE_ENGINE"))
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: can't reach the server of %s\nhint: is it running?\n", strings.Join(os.Args[1:], " "))
		os.Exit(problem.ExitUnreachable)
	}
	fmt.Fprint(os.Stderr, "a note\x1b[31m of the program\n")
	go func() { _, _ = io.Copy(conn, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, conn)
	os.Exit(1)
}

// fakeServer is an engine without Temporal: it has one site with all machines of the lab, and carries
// a rollout out in this process, which outlives the program's.
type fakeServer struct {
	path string
	site *fleet.Site

	mu    sync.Mutex
	l     net.Listener
	conns []net.Conn
	lies  string // how the answers are changed
	runs  []*fakeRollout
}

type fakeRollout struct {
	*fakeServer
	begin    engine.Begin
	entries  []rollout.Entry
	parts    [][]int
	state    engine.State
	ended    map[int]rollout.State
	run      *rollout.Run
	stop     context.CancelFunc
	resumed  chan struct{} // nil: not paused
	approved chan bool
}

// fakeEngine: engine start|drop|lie KIND|expire PLAN
func fakeEngine(ts *testscript.TestScript, _ bool, args []string) {
	s := theState(ts)
	if s.engine == nil {
		site, err := fleet.OpenSite(context.Background(), fleet.Caller{Owner: "worker@site", User: "nobody", Home: ts.MkAbs("."), Getenv: func(string) string { return "" }, Say: func(string) {}, Event: func(rollout.Event) {}},
			theLab(ts).InventoryFile(), "fleet")
		ts.Check(err)
		s.engine = &fakeServer{path: filepath.Join(ts.MkAbs("."), "engine.sock"), site: site}
		ts.Setenv("FAKE_ENGINE", s.engine.path)
		ts.Setenv("AOIFLEET_ENGINE", "temporal://127.0.0.1/lab")
		ts.Defer(s.engine.drop)
	}
	switch args[0] {
	case "start":
		l, err := net.Listen("unix", s.engine.path)
		ts.Check(err)
		s.engine.l = l
		go s.engine.serve(l)
	case "drop":
		s.engine.drop()
	case "lie":
		s.engine.mu.Lock()
		defer s.engine.mu.Unlock()
		s.engine.lies = args[1]
	case "expire":
		s.engine.expire(ts, ts.MkAbs(args[1]))
	default:
		ts.Fatalf("usage: engine start|drop|lie KIND|expire PLAN")
	}
}

// expire lets a plan expire that the newest run carries out.
func (s *fakeServer) expire(ts *testscript.TestScript, path string) {
	p, err := planfile.Read(path)
	ts.Check(err)
	p.ExpiresAt = &p.CreatedAt
	ts.Check(planfile.Write(path, p))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[len(s.runs)-1].state.PlanID = p.ID()
}

func (s *fakeServer) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.l.Close()
	for _, c := range s.conns {
		_ = c.Close()
	}
}

func (s *fakeServer) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		hello := engine.Hello{Protocol: engine.Protocol, Version: "dev"}
		if s.lies == "protocol" {
			hello.Protocol = 99
		}
		s.mu.Unlock()
		go s.talk(conn, hello)
	}
}

func (s *fakeServer) talk(conn net.Conn, hello engine.Hello) {
	var writing sync.Mutex
	out := json.NewEncoder(conn)
	_ = out.Encode(hello)
	lines := bufio.NewReader(conn)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var r engine.Request
		if err := json.Unmarshal(line, &r); err != nil {
			panic(err)
		}
		go func() {
			a := s.do(r)
			a.ID = r.ID
			writing.Lock()
			defer writing.Unlock()
			if s.lie(r, &a) {
				_, _ = io.WriteString(conn, "what\n")
				return
			}
			_ = out.Encode(a)
		}()
	}
}

// lie changes an answer; true: it is no answer at all.
func (s *fakeServer) lie(r engine.Request, a *engine.Answer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.lies == "survey" && r.Do == engine.DoSurvey:
		a.Looks = a.Looks[1:]
	case s.lies == "results" && r.Do == engine.DoResults:
		for i := range a.Results {
			d := &a.Results[i]
			d.Notes = []string{"\x1b[2Jgone"}
			if d.Host.Name == "a-2" {
				d.Host.Name = "other"
			} else {
				d.Outcome = "splendid"
			}
		}
	case s.lies == "state" && r.Do == engine.DoState:
		return true
	}
	return false
}

func (s *fakeServer) do(r engine.Request) (a engine.Answer) {
	if r.Do == engine.DoSurvey {
		return s.survey(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var run *fakeRollout
	for _, ro := range s.runs {
		if r.Run.ID == ro.state.Run.ID || r.Do == engine.DoCurrent && ro.state.Result == nil {
			run = ro
		}
	}
	switch {
	case r.Do == engine.DoCurrent && run == nil:
	case r.Do == engine.DoCurrent, r.Do == engine.DoState && run != nil:
		state := run.state
		if len(run.parts) < run.begin.Parts {
			state.Missing = []int{0} // the labs have one part
		}
		a.State = &state
	case r.Do == engine.DoBegin && s.lies == "begin":
		a.Problem = problem.New(problem.Locked,
			"carry out the plan again, which follows it if it has the same plan; see: aoifleet runs list --engine URL",
			"another rollout has begun meanwhile")
	case r.Do == engine.DoPart && s.lies == "part":
		a.Problem = problem.New(problem.Unreachable, "", "no answer within 20s")
	case r.Do == engine.DoBegin:
		if s.lies == "lost" {
			a.Problem = problem.New(problem.Unreachable, "", "no answer within 20s")
		}
		s.runs = append(s.runs, &fakeRollout{fakeServer: s, begin: *r.Begin, ended: map[int]rollout.State{}, entries: make([]rollout.Entry, r.Begin.Hosts), approved: make(chan bool, 1),
			state: engine.State{Run: r.Run, PlanID: r.Begin.PlanID, Started: time.Now(), Hosts: r.Begin.Hosts}})
	case r.Do == engine.DoPart:
		run.part(*r.Part)
	case r.Do == engine.DoStates:
		for n, i := range run.parts[r.N] {
			if st, ended := run.ended[i]; ended {
				a.States = append(a.States, engine.HostState{Host: n, State: st})
			}
		}
	case r.Do == engine.DoResults:
		a.Results = run.results(r.N, r.From)
	case r.Do == engine.DoSignal:
		run.signal(r)
	case r.Do == engine.DoList:
		for _, ro := range slices.Backward(s.runs) {
			state := ro.state
			state.Totals = map[rollout.Outcome]int{}
			for _, ended := range ro.ended {
				state.Totals[ended.Outcome]++
			}
			a.List = append(a.List, state)
		}
	default:
		a.Problem = problem.New(problem.Usage, "see: aoifleet runs list --engine URL", "there is no run %q", r.Run.ID)
	}
	return a
}

// runner returns what reaches the hosts for a run.
func (s *fakeServer) runner(run engine.Run) (*rollout.Runner, *fleet.SiteRun) {
	site, _, err := s.site.Run(run.ID)
	if err != nil {
		panic(err)
	}
	dial := func(id string) func(context.Context, inventory.Host) (rollout.Host, error) {
		return func(ctx context.Context, h inventory.Host) (rollout.Host, error) {
			return site.Dial(ctx, h, host.Run{ID: id, Owner: run.Owner, Stages: true})
		}
	}
	return &rollout.Runner{Dial: dial(run.ID), DialUndo: dial(rollout.UndoID(run.ID)), RunID: run.ID, Events: func(rollout.Event) {}}, site
}

func (s *fakeServer) survey(r engine.Request) (a engine.Answer) {
	runner, site := s.runner(r.Run)
	defer runner.Close()
	targets := make([]rollout.Target, len(r.Hosts))
	for i, d := range r.Hosts {
		h, err := site.Host(d, true)
		if err != nil {
			panic(err)
		}
		targets[i].Host = h
	}
	for _, look := range runner.Survey(context.Background(), targets, 4) {
		one := engine.Look{Seen: look.Seen}
		if look.Err != nil {
			one.Problem = host.AsProblem(look.Err)
		}
		a.Looks = append(a.Looks, one)
	}
	return a
}

// part takes a part, and carries the plan out once all are there.
func (r *fakeRollout) part(p engine.Part) {
	var members []int
	for _, d := range p.Entries {
		r.entries[d.Index] = d.Entry()
		members = append(members, d.Index)
	}
	if r.parts = append(r.parts, members); len(r.parts) < r.begin.Parts {
		return
	}
	r.state.Parts = r.begin.Parts
	stopping, stop := context.WithCancel(context.Background())
	r.stop = stop
	go r.carryOut(stopping)
}

func (r *fakeRollout) carryOut(stopping context.Context) {
	runner, site := r.runner(r.state.Run)
	places := map[string]int{}
	for i := range r.entries {
		e := &r.entries[i]
		h, err := site.Host(rollout.DataOf(e.Host), true)
		if err == nil {
			e.Host = h
			e.Certificate, err = site.Certificate(context.Background(), h)
		}
		if err != nil {
			panic(err)
		}
		places[h.Name] = i
	}
	runner.Events = func(e rollout.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case e.Host == "":
			r.state.Step, r.state.Lasts = e.Step, e.Lasts
			r.state.Wave, r.state.Waves = max(e.Wave, r.state.Wave), max(e.Waves, r.state.Waves)
		case e.Outcome != "" && e.Outcome != rollout.Skipped:
			r.ended[places[e.Host]] = rollout.State{Outcome: e.Outcome, Problem: e.Problem, Proof: e.Proof}
		}
	}
	runner.Gate = func(context.Context, rollout.Verb) {
		r.mu.Lock()
		resumed := r.resumed
		r.mu.Unlock()
		if resumed != nil {
			<-resumed
		}
	}
	runner.Ask = func(wave int, _ *rollout.Run) bool {
		r.mu.Lock()
		r.state.Asks = wave
		r.mu.Unlock()
		yes := <-r.approved
		r.mu.Lock()
		defer r.mu.Unlock()
		r.state.Asks = 0
		return yes
	}
	run := runner.Apply(context.Background(), stopping, rollout.PlanOf(r.entries, r.begin.Policy, r.begin.Unaccepted))
	runner.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run = run
	r.state.Finished = time.Now()
	r.state.Result = &engine.Result{Stopped: run.Stopped, Interrupted: run.Interrupted, Ended: run.Ended}
}

func (r *fakeRollout) results(part, from int) (page []rollout.ResultData) {
	members := r.parts[part]
	for _, i := range members[from:min(from+2, len(members))] {
		res := rollout.Result{Entry: r.entries[i]}
		if r.run != nil {
			res = r.run.Results[i]
		} else if st, ended := r.ended[i]; ended {
			res.Outcome, res.Problem, res.Proof = st.Outcome, st.Problem, st.Proof
		}
		page = append(page, res.Data(i))
	}
	return page
}

func (r *fakeRollout) signal(q engine.Request) {
	switch q.Signal {
	case "stop":
		r.state.Stopping = true
		r.stop()
		if r.state.Asks > 0 {
			r.approved <- false
		}
		if r.resumed != nil {
			close(r.resumed)
			r.resumed = nil
		}
	case "pause":
		r.state.Paused, r.resumed = true, make(chan struct{})
	case "resume":
		close(r.resumed)
		r.state.Paused, r.resumed = false, nil
	case "approve", engine.Decline:
		if q.N == r.state.Asks && len(r.approved) == 0 {
			r.approved <- q.Signal == "approve"
		}
	}
}
