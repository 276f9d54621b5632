package flow

import (
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/codec"
	"github.com/aoifleet/aoifleet/engine/internal/protocol"
)

func newReplayer(t *testing.T) worker.WorkflowReplayer {
	t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DataConverter: codec.New(nil).Data})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The histories that were recorded on a server can still be replayed. If not, runs that are under
// way would not go on with this version: raise protocol.Version, and record them again with
// AOIFLEET_WRITE_DOCS=1 go test -run OnAServer ./internal/flowtest
func TestReplay(t *testing.T) {
	files, err := filepath.Glob("testdata/history-v*.json")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		r := newReplayer(t)
		(&Workflows{}).Register(r)
		if err := r.ReplayWorkflowHistoryFromJSONFile(quiet{}, file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A change of what a workflow does in which order is found.
func TestReplayFindsAChange(t *testing.T) {
	r := newReplayer(t)
	r.RegisterWorkflowWithOptions(func(ctx workflow.Context, in protocol.PartInput) error {
		workflow.Go(ctx, func(ctx workflow.Context) { _ = workflow.Sleep(ctx, time.Hour) })
		return (&Workflows{}).Part(ctx, in)
	}, workflow.RegisterOptions{Name: protocol.Part})
	if r.ReplayWorkflowHistoryFromJSONFile(quiet{}, "testdata/history-v1-part0.json") == nil {
		t.Error("replayed with a timer that was not there")
	}
}
