package rollout

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aoifleet/aoifleet/internal/certificate"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// fill sets every field of a value, in any depth, to something that is not zero.
func fill(v reflect.Value, n *int) {
	*n++
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		v.Set(reflect.ValueOf(clock.Add(time.Duration(*n) * time.Second)))
	case v.Type() == reflect.TypeFor[error]():
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n)
			}
		}
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case v.Kind() == reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{fmt.Sprint("k", *n): fmt.Sprint("v", *n)}))
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprint("text-", *n))
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.CanInt():
		v.SetInt(int64(*n))
	case v.CanUint():
		v.SetUint(uint64(*n % 200))
	default:
		panic(v.Type().String())
	}
}

func filled[T any]() (v T) {
	n := 0
	fill(reflect.ValueOf(&v).Elem(), &n)
	return v
}

// Whatever a field of them is, it arrives.
func TestWhatCrossesTheBoundary(t *testing.T) {
	seen := filled[host.Observation]()
	seen.Configuration, seen.Contents = nil, nil
	seen.Backups, seen.Leftover, seen.Machine, seen.HostKey, seen.ConfigDigest = nil, nil, "", "", "" // of a plan
	settings := filled[HostData]()
	settings.Agent.Configuration = "" // a path of the workstation
	e := Entry{Target: Target{Host: settings.Host(), Certificate: certificate.Known(filled[certificate.Info](), "digest")}, Seen: &seen,
		Action: Rotate, Reason: "because", Outcome: Failed, Problem: filled[*problem.Error](), Wave: 3, Window: filled[inventory.Opening](), Verified: new(bool), unplanned: true}
	res := Result{Entry: e, Proof: "p", Known: true, Notes: []string{"n"}, Evidence: []string{"e"}, Steps: filled[[]host.Step](), SettlesAt: clock, Confirmed: true}
	if there := throughJSON(t, res.Data(7)); there.Index != 7 || !reflect.DeepEqual(there.Result(), res) {
		t.Errorf("%+v\n%+v", there.Result(), res)
	}
	p := policy()
	p.Rollout.Windows = []inventory.Window{}
	p.Rollout.MaxFailures, p.Rollout.Batches = inventory.Percent(7), []inventory.Amount{inventory.Count(3), inventory.Percent(100)}
	for _, v := range []any{filled[host.Report](), filled[host.Change](), filled[host.ObserveOptions](), filled[SoakFinding](), filled[State](), filled[HostData](), p} {
		back := reflect.New(reflect.TypeOf(v))
		data, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(data, back.Interface())
		}
		if err != nil || !reflect.DeepEqual(back.Elem().Interface(), v) {
			t.Errorf("%v\n%+v\n%+v", err, back.Elem().Interface(), v)
		}
	}
	windows := []inventory.Window{}
	data := `[{"label":"site=lon*","text":"mon-fri","days":[false,true,true,true,true,true,false],"from":1320,"to":300,"zone":"Europe/London"}]`
	if err := json.Unmarshal([]byte(data), &windows); err != nil || windows[0].String() != "site=lon* mon-fri 22:00-05:00 Europe/London" {
		t.Fatal(windows, err)
	}
	if again, _ := json.Marshal(windows); string(again) != data {
		t.Error(string(again))
	}
	night, london := clock.Add(-49*time.Hour), map[string]string{"site": "london-2"} // a Thursday, 23:00
	if r := (inventory.Rollout{Windows: windows}); !r.Opening(night, london).Open || r.Opening(night.Add(-4*time.Hour), london).Open || !r.Opening(night.Add(-4*time.Hour), nil).Open {
		t.Error(r.Opening(night, london))
	}
}

// Neither the bytes of a file nor what logs in to a host is data.
func TestDataHoldsNoSecret(t *testing.T) {
	h := filled[inventory.Host]()
	e := Entry{Target: Target{Host: &h, Source: "SECRET", Command: "SECRET", Files: []Wanted{{Data: []byte("SECRET")}}}, Seen: &host.Observation{
		Configuration: &host.Content{Data: []byte("SECRET")}, Contents: []host.Content{{Data: []byte("SECRET")}}}}
	data, err := json.Marshal(Result{Entry: e}.Data(0))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"SECRET", "U0VDUkVU", h.User, h.KnownHosts, h.IdentityFiles[0], h.Certificate, h.CertificateCommand, h.PasswordFrom.Command, h.PasswordFrom.File, h.SudoPassword.Command, h.Agent.Configuration} {
		if text == "" || bytes.Contains(data, []byte(`"`+text)) {
			t.Errorf("%q in %s", text, data)
		}
	}
}

// Whichever setting of a host is another one, it is named as in the inventory.
func TestDifference(t *testing.T) {
	same := filled[HostData]()
	if key := same.Difference(filled[HostData]()); key != "" {
		t.Error(key)
	}
	if key := (HostData{Labels: map[string]string{}, Health: inventory.Health{Deny: []string{}}}).Difference(HostData{}); key != "" {
		t.Error("an empty list is none, but: " + key)
	}
	var keys []string
	for _, n := range leaves(reflect.TypeFor[HostData]()) {
		other := filled[HostData]()
		field := reflect.ValueOf(&other).Elem().FieldByIndex(n)
		field.SetZero()
		keys = append(keys, same.Difference(other))
	}
	want := "name address group labels agent.unit agent.package agent.config agent.log agent.provider agent.certificate_path agent.configuration agent.when_stopped " +
		"health.window health.timeout health.expect health.deny health.deny_default health.command health.diagnostics health.confirm_timeout health.proof_timeout backups.keep backups.max_age helper"
	if got := strings.Join(keys, " "); got != want {
		t.Error(got)
	}
}

// leaves returns the indexes of the fields of a struct that are no structs.
func leaves(s reflect.Type) (list [][]int) {
	for _, f := range reflect.VisibleFields(s) {
		if f.Type.Kind() != reflect.Struct {
			list = append(list, f.Index)
			continue
		}
		for _, inner := range leaves(f.Type) {
			list = append(list, append(slices.Clone(f.Index), inner...))
		}
	}
	return list
}

// Parts are small, and a failure domain is never divided.
func TestDivide(t *testing.T) {
	entry := func(site string) Entry {
		h := &inventory.Host{Name: "h"}
		if site != "" {
			h.Labels = map[string]string{"site": site}
		}
		return Entry{Target: Target{Host: h}}
	}
	plan := &Plan{Policy: Policy{Rollout: inventory.Rollout{MaxUnavailable: inventory.Unavailable{Label: "site", Count: 1}}}}
	for i := range 40 {
		plan.Entries = append(plan.Entries, entry([]string{"a", "b", "c", "large"}[max(i%8-4, 0)]))
	}
	parts, err := plan.Divide(8)
	var all []int
	for _, part := range parts {
		sites := map[string]bool{}
		for _, i := range part {
			sites[plan.Entries[i].Host.Labels["site"]] = true
		}
		if all = append(all, part...); len(part) > 8 && len(sites) > 1 {
			t.Errorf("%v has %v", part, sites)
		}
		for _, other := range parts {
			if i := other[0]; i != part[0] && sites[plan.Entries[i].Host.Labels["site"]] {
				t.Errorf("%v and %v", part, other)
			}
		}
	}
	if slices.Sort(all); err != nil || len(all) != 40 || all[39] != 39 {
		t.Error(parts, err)
	}
	for range MaxPart {
		plan.Entries = append(plan.Entries, entry("a"))
	}
	if _, err := plan.Divide(8); err == nil || !strings.Contains(err.Error(), "site=a") {
		t.Error(err)
	}
}

// The shares of parts are by their hosts, each has one at least, and together they are never more
// than there are restarts at once.
func TestShares(t *testing.T) {
	for _, tt := range []struct {
		parallel    int
		hosts, want []int
	}{
		{1, []int{9, 9}, []int{1}}, {5, []int{7, 7}, []int{2, 3}}, {53, []int{10, 500}, []int{2, 51}},
		{6, []int{500, 1, 1}, []int{3, 1, 2}}, {3, nil, []int{}},
	} {
		if got := Shares(tt.parallel, tt.hosts); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %v", tt, got)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		parallel, hosts, all := 1+random.IntN(300), make([]int, 1+random.IntN(200)), 0
		for i := range hosts {
			hosts[i] = 1 + random.IntN(500)
			all += hosts[i]
		}
		shares, sum := Shares(parallel, hosts), 0
		for i, n := range shares {
			sum += n
			if more := parallel - len(shares); n < 1 || max(n-1, more*hosts[i]/all)-min(n-1, more*hosts[i]/all) > 1 {
				t.Fatalf("%d among %v: %v", parallel, hosts, shares)
			}
		}
		if sum > parallel || len(shares) != min(parallel, len(hosts)) {
			t.Fatalf("%d among %v: %v", parallel, hosts, shares)
		}
	}
}

// A part stages on no more hosts at once than its share: the parts of a large run together would
// else ask for more than a server can pass on.
func TestPartKeepsToItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := manyNames(9)
		f := newFakeFleet(names...)
		r := f.runner()
		now, most := 0, 0
		r.Dial = func(ctx context.Context, h inventory.Host) (Host, error) {
			f.mu.Lock()
			now++
			most = max(most, now)
			f.mu.Unlock()
			time.Sleep(time.Second)
			f.mu.Lock()
			now--
			f.mu.Unlock()
			return f.dial(ctx, h)
		}
		defer r.Close()
		var looks []Look
		for range names {
			looks = append(looks, Look{Seen: healthy()})
		}
		plan := Make(f.targets(names...), looks, policy())
		r.Part(t.Context(), plan).Do(t.Context(), StageVerb, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}, 2)
		if most != 2 || policy().AtOnce(StageVerb) != maxConnections {
			t.Errorf("%d at once", most)
		}
	})
}
