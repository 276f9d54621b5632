package site

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/fleet"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/lab"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

const (
	runID = "20261123-084512-K3F9"
	site  = "london"
)

// record collects bytes of many goroutines.
type record struct {
	mu sync.Mutex
	bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.Buffer.String()
}

// recorder is a data converter that keeps what would go to the server.
type recorder struct {
	converter.DataConverter
	sent *record
}

func (c recorder) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	p, err := c.DataConverter.ToPayloads(values...)
	for _, one := range p.GetPayloads() {
		_, _ = c.sent.Write(one.GetData())
	}
	return p, err
}

func (c recorder) ToPayload(value any) (*commonpb.Payload, error) {
	p, err := c.DataConverter.ToPayload(value)
	_, _ = c.sent.Write(p.GetData())
	return p, err
}

// world is a lab with a worker at one of its sites.
type world struct {
	*lab.Fleet
	t     *testing.T
	site  *fleet.Site
	sent  *record // results, heartbeats and log lines
	stop  context.CancelFunc
	halt  chan struct{}
	env   *testsuite.TestActivityEnvironment
	step  func(step string) // is called when a step of a rotation starts
	cert  *certificate.Certificate
	hosts map[string]*inventory.Host
}

// stepping calls a function when a step of a rotation starts.
type stepping struct {
	rollout.Host
	at func(step string)
}

func (s stepping) Rotate(ctx context.Context, c host.Change, onStep func(string)) *host.Report {
	return s.Host.Rotate(ctx, c, func(step string) { s.at(step); onStep(step) })
}

// steps are hosts whose rotations are watched.
type steps struct {
	Hosts
	world *world
}

func (s steps) Dial(ctx context.Context, h inventory.Host, run host.Run) (rollout.Host, error) {
	vm, err := s.Hosts.Dial(ctx, h, run)
	return stepping{vm, s.world.step}, err
}

func newWorld(t *testing.T, machines int) *world {
	t.Helper()
	f, err := lab.Start(t.Context(), lab.Options{Machines: machines, Group: func(name string) string {
		if strings.HasPrefix(name, "paris-") {
			return "paris"
		}
		return site
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	w := &world{Fleet: f, t: t, sent: &record{}, halt: make(chan struct{}), step: func(string) {}, hosts: map[string]*inventory.Host{}}
	say := func(line string) { _, _ = w.sent.Write([]byte(line)) }
	caller := fleet.Caller{Getenv: func(string) string { return "" }, Event: func(rollout.Event) {}, Say: say}
	if w.site, err = fleet.OpenSite(t.Context(), caller, f.InventoryFile(), site); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.site.Close)
	inv, err := inventory.Load(f.InventoryFile(), inventory.Env{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range inv.Hosts {
		w.hosts[inv.Hosts[i].Name] = &inv.Hosts[i]
	}
	data, err := os.ReadFile(f.CertificateFile(lab.NewCertificate))
	if err == nil {
		w.cert, err = certificate.Parse(data, time.Now())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.newWorker()
	t.Cleanup(func() { w.noSecrets() })
	return w
}

// newWorker starts the worker of the site again.
func (w *world) newWorker() {
	a := &Activities{Site: site, Log: slog.New(slog.NewTextHandler(w.sent, nil)), Open: func(run string) (Hosts, func(), error) {
		r, done, err := w.site.Run(run)
		return steps{r, w}, done, err
	}}
	var ctx context.Context
	ctx, w.stop = context.WithCancel(w.t.Context())
	w.env = newEnvironment(w.sent)
	w.env.SetTestTimeout(5 * time.Minute)
	w.env.SetWorkerOptions(worker.Options{BackgroundActivityContext: ctx})
	w.env.SetWorkerStopChannel(w.halt)
	w.env.SetDataConverter(recorder{converter.GetDefaultDataConverter(), w.sent})
	a.Register(w.env)
}

// noSecrets fails the test if a part of the certificate's file is in what leaves the worker.
func (w *world) noSecrets() {
	sent := w.sent.String()
	text := w.cert.Canonical()
	der, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		w.t.Fatal(err)
	}
	const window = 24 // bytes, so that half as many more of a leak contain one, wherever it begins
	for _, form := range []string{string(text), string(der), base64.StdEncoding.EncodeToString(text), hex.EncodeToString(der)} {
		for i := 0; i+window <= len(form); i += window {
			if strings.Contains(sent, form[i:i+window]) {
				w.t.Fatalf("%q of the certificate's file leaves the worker", form[i:i+window])
			}
		}
	}
	if !strings.Contains(sent, "outcome") || strings.Contains(sent, "PRIVATE KEY") {
		w.t.Error(sent)
	}
}

func (w *world) ask(activity string, in, out any) error {
	w.t.Helper()
	value, err := w.env.ExecuteActivity(activity, in)
	if err != nil {
		_, _ = w.sent.Write([]byte(err.Error()))
		return err
	}
	return value.Get(out)
}

func (w *world) one(name string) protocol.OneHost {
	return protocol.OneHost{Version: protocol.Version, Run: protocol.Run{ID: runID, Owner: "op@ws"}, Host: rollout.DataOf(w.hosts[name])}
}

func (w *world) observe(q protocol.OneHost) *host.Observation {
	w.t.Helper()
	var look protocol.LookData
	if err := w.ask(protocol.Observe, q, &look); err != nil || look.Problem != nil {
		w.t.Fatal(err, look.Problem)
	}
	return look.Seen
}

func (w *world) report(activity string, q protocol.OneHost) *host.Report {
	w.t.Helper()
	report := &host.Report{}
	if err := w.ask(activity, q, report); err != nil {
		w.t.Fatal(err)
	}
	return report
}

func (w *world) stage(q protocol.OneHost) *problem.Error {
	w.t.Helper()
	q.Digest = w.cert.Digest()
	var answer protocol.Answer
	if err := w.ask(protocol.Stage, q, &answer); err != nil {
		w.t.Fatal(err)
	}
	return answer.Problem
}

func (w *world) discard(q protocol.OneHost) {
	w.t.Helper()
	var answer protocol.Answer
	if err := w.ask(protocol.Discard, q, &answer); err != nil || answer.Problem != nil {
		w.t.Error(err, answer.Problem)
	}
}

// rotation returns the request that rotates a host, as rollout makes it.
func (w *world) rotation(name string) protocol.OneHost {
	w.t.Helper()
	q := w.one(name)
	seen := w.observe(q)
	q.Change = &host.Change{Seen: seen, Digest: w.cert.Digest(), New: &w.cert.Leaf, Swap: true, Start: true, Deadman: true}
	return q
}

// restoring returns the request that undoes what the run has changed on a host.
func (w *world) restoring(name string) protocol.OneHost {
	w.t.Helper()
	q := w.one(name)
	q.Run.ID = rollout.UndoID(runID)
	q.Options.Saved = runID
	seen := w.observe(q)
	q.Change = &host.Change{Seen: seen, Digest: "none", Swap: true, Start: true, Deadman: true, Saved: runID}
	if i := slices.IndexFunc(seen.Backups, func(b host.Backup) bool { return b.Run == runID }); i >= 0 {
		q.Change.Digest = seen.Backups[i].Old
	}
	return q
}

// A host is observed, staged, rotated, and the rotation undone.
func TestRotationAndItsUndo(t *testing.T) {
	w := newWorld(t, 1)
	m := w.Machines()[0]
	var looks []protocol.LookData
	many := protocol.ManyHosts{Version: protocol.Version, Run: w.one(m.Name).Run, Hosts: []rollout.HostData{w.one(m.Name).Host}}
	if err := w.ask(protocol.ObserveMany, many, &looks); err != nil || len(looks) != 1 || looks[0].Seen.Live.Thumbprint != w.OldThumbprint() {
		t.Fatal(err, looks)
	}
	if r := w.report(protocol.Rotate, w.rotation(m.Name)); r.Ending != host.Refused {
		t.Errorf("nothing is staged yet: %+v", r)
	}
	for range 2 { // the second time after an attempt whose answer was lost
		if p := w.stage(w.one(m.Name)); p != nil {
			t.Fatal(p)
		}
	}
	rotation := w.rotation(m.Name)
	if r := w.report(protocol.Rotate, rotation); r.Ending != host.Rotated || m.LiveThumbprint() != w.NewThumbprint() {
		t.Fatalf("%+v", r)
	}
	if p := w.stage(w.one(m.Name)); p != nil {
		t.Error(p)
	}
	if r := w.report(protocol.Rotate, rotation); r.Ending != host.Refused || r.Problem.Class != problem.Drift {
		t.Errorf("a recorded request, sent again: %+v", r)
	}
	undo := w.restoring(m.Name)
	if r := w.report(protocol.Rotate, undo); r.Ending != host.Rotated || m.LiveThumbprint() != w.OldThumbprint() {
		t.Fatalf("%+v", r)
	}
	if r := w.report(protocol.Rotate, undo); r.Ending != host.Refused {
		t.Errorf("%+v", r)
	}
	if r := w.report(protocol.Recover, w.one(m.Name)); r.Ending != host.Clean && r.Ending != host.RolledBack {
		t.Errorf("%+v", r)
	}
	w.discard(w.one(m.Name))
}

// A worker that ends in the middle of a rotation leaves a host that undoes by itself.
func TestWorkerEndsInARotation(t *testing.T) {
	for _, at := range []string{"backup", "swap", "restart", "watch"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t, 1)
			m := w.Machines()[0]
			if p := w.stage(w.one(m.Name)); p != nil {
				t.Fatal(p)
			}
			rotation := w.rotation(m.Name)
			w.step = func(step string) {
				if step == at {
					w.stop()
				}
			}
			if r := w.report(protocol.Rotate, rotation); r.Ending == host.Rotated {
				t.Errorf("%+v", r)
			}
			w.newWorker()
			// As rollout asks a host with which contact was lost.
			seen := &host.Observation{AtWork: true}
			for unfinished := true; unfinished || seen.AtWork; _, unfinished = seen.Unfinished() {
				if r := w.report(protocol.Recover, w.one(m.Name)); r.Ending == host.Refused && r.Problem.Class != problem.Locked {
					t.Fatalf("%+v", r.Problem)
				}
				w.discard(w.one(m.Name))
				seen = w.observe(w.one(m.Name))
			}
			if m.LiveThumbprint() != w.OldThumbprint() || !seen.Unit.Runs() || seen.File.Digest == w.cert.Digest() {
				t.Errorf("%+v", seen)
			}
		})
	}
}

// A soak ends with the first host that is not well.
func TestSoak(t *testing.T) {
	w := newWorld(t, 4)
	q := protocol.SoakHosts{Version: protocol.Version, Run: w.one("london-sftp-01").Run, Left: time.Hour}
	q.Policy.Soak = time.Second
	var places []string
	for _, m := range w.Machines() {
		if w.hosts[m.Name].Site() != site {
			continue
		}
		if p := w.stage(w.one(m.Name)); p != nil {
			t.Fatal(p)
		}
		if r := w.report(protocol.Rotate, w.rotation(m.Name)); r.Ending != host.Rotated {
			t.Fatalf("%+v", r)
		}
		e := rollout.Entry{Target: rollout.Target{Host: w.hosts[m.Name], Certificate: w.cert}, Seen: w.observe(w.one(m.Name)), Action: rollout.Rotate}
		q.Hosts = append(q.Hosts, rollout.Result{Entry: e}.Data(len(places)))
		places = append(places, m.Name)
	}
	soak := func(q protocol.SoakHosts) (soaked protocol.Soaked, err error) {
		t.Helper()
		err = w.ask(protocol.SoakMany, q, &soaked)
		return soaked, err
	}
	short := q
	short.Left = 0
	if s, err := soak(short); err != nil || len(s.Found) > 0 || !s.Over {
		t.Errorf("%v, %+v", err, s)
	}
	w.Machine(places[1]).Systemctl("stop", lab.Unit)
	if s, err := soak(q); err != nil || len(s.Found) != 1 || s.Found[0].Host != 1 || s.Found[0].Unhealthy == nil {
		t.Errorf("%v, %+v", err, s)
	}
	broken := q
	broken.Hosts = slices.Clone(q.Hosts)
	broken.Hosts[0].Seen = nil
	broken.Hosts[2].Certificate = nil
	if s, err := soak(broken); err != nil || len(s.Found) != 2 || s.Found[1].Host != 2 || s.Found[0].Unreachable == nil {
		t.Errorf("%v, %+v", err, s)
	}
	for _, edit := range []func(*protocol.SoakHosts){
		func(q *protocol.SoakHosts) { q.Version++ },
		func(q *protocol.SoakHosts) { q.Left = 366 * 24 * time.Hour },
		func(q *protocol.SoakHosts) { q.Hosts = make([]rollout.ResultData, protocol.MaxMany+1) },
	} {
		other := q
		edit(&other)
		if s, err := soak(other); err == nil {
			t.Errorf("%+v", s)
		}
	}
	close(w.halt) // the worker is to stop: another one watches on
	well := q
	well.Hosts = q.Hosts[:1]
	if s, err := soak(well); err == nil {
		t.Errorf("%+v", s)
	}
}
