package site

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	sdk "go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Every activity gives a sign of life at once, which says nothing, and gives its run back.
func TestSignsOfLife(t *testing.T) {
	h := newTarget()
	one, many := h.rotate(), protocol.ManyHosts{Version: protocol.Version, Run: h.rotate().Run, Hosts: []rollout.HostData{rollout.DataOf(h.own)}}
	soak := protocol.SoakHosts{Version: protocol.Version, Run: many.Run}
	for activity, q := range map[string]any{protocol.ObserveMany: many, protocol.Observe: one, protocol.Stage: one, protocol.Rotate: one,
		protocol.Recover: one, protocol.Discard: one, protocol.SoakMany: soak} {
		env := newEnvironment(new(bytes.Buffer))
		beats, users := 0, 0
		a := &Activities{Site: "north", Log: slog.New(slog.DiscardHandler), Open: func(run string) (Hosts, func(), error) {
			users++
			return h, func() { users-- }, nil
		}}
		a.Register(env)
		env.SetOnActivityHeartbeatListener(func(_ *sdk.Info, details converter.EncodedValues) {
			if beats++; details.HasValues() {
				t.Errorf("%s says something", activity)
			}
		})
		if _, err := env.ExecuteActivity(activity, q); err != nil || beats == 0 || users != 0 {
			t.Errorf("%s: %v, %d signs of life, %d users", activity, err, beats, users)
		}
	}
}

// A log line is one line, whatever a request has in it.
func TestLog(t *testing.T) {
	h, logs := newTarget(), new(bytes.Buffer)
	q := h.rotate()
	q.Host.Name = "h\x1b]0;x\a\nlevel=ERROR " + strings.Repeat("x", 1000)
	if _, err := h.environment(logs).ExecuteActivity(protocol.Rotate, q); err != nil {
		t.Fatal(err)
	}
	line := logs.String()
	if strings.Count(line, "\n") != 1 || strings.ContainsAny(line, "\x1b\a") || len(line) > 400 || !strings.Contains(line, "run="+run1) || !strings.Contains(line, "no such host") {
		t.Errorf("%q", line)
	}
}

// What hosts say is bounded, and what is left out is not taken for all.
func TestBounds(t *testing.T) {
	look := func(receipts, backups int) protocol.LookData {
		seen := &host.Observation{Configuration: &host.Content{Data: []byte("x")}, Contents: []host.Content{{}}}
		for i := range receipts {
			seen.Receipts = append(seen.Receipts, host.Receipt{Run: fmt.Sprint(i), Owner: strings.Repeat("o", 400)})
		}
		for i := range backups {
			seen.Backups = append(seen.Backups, host.Backup{Run: fmt.Sprint("run-", i), Old: strings.Repeat("0", 64), New: strings.Repeat("0", 64)})
		}
		if backups > 0 {
			seen.Backups[0].Run = run1
		}
		return protocol.LookData{Seen: seen}
	}
	got := bounded(look(3, maxBackups), run1)
	if s := got.Seen; s == nil || len(s.Backups) != maxBackups || s.Configuration != nil || s.Contents != nil {
		t.Errorf("%+v", got)
	}
	if got := bounded(look(3, 10_000), rollout.UndoID(run1)); got.Problem != nil || len(got.Seen.Backups) != maxBackups+1 || got.Seen.Backups[0].Run != run1 {
		t.Errorf("%+v", got.Problem)
	}
	if got := bounded(look(1000, 0), run1); got.Problem == nil || got.Seen != nil {
		t.Errorf("%+v", got)
	}
}
