// Package flow has the workflows of the engine. They decide by the code of internal/rollout, as a
// run of one process does: what differs is how things are done at the same time and how time
// passes (scheduler), and that hosts are behind the activities of their sites.
//
// Workflow code is replayed: it has no clock, goroutine, random number or order of a map of its
// own. A change of what it does in which order needs another protocol.Version; the recorded
// histories in testdata show whether one is needed.
package flow

import (
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/inventory"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// Workflows are the workflows of a control worker.
type Workflows struct {
	// Converter returns how payloads between an execution of a workflow and an activity of a site
	// are encrypted; nil: as all others.
	Converter func(site, execution, activity string) converter.DataConverter
}

// Register registers the workflows on a control worker, which polls protocol.ControlQueue.
func (w *Workflows) Register(on worker.WorkflowRegistry) {
	on.RegisterWorkflowWithOptions(w.Rollout, workflow.RegisterOptions{Name: protocol.Rollout})
	on.RegisterWorkflowWithOptions(w.Part, workflow.RegisterOptions{Name: protocol.Part})
	on.RegisterWorkflowWithOptions(w.Survey, workflow.RegisterOptions{Name: protocol.Survey})
}

// otherVersion returns the problem of an input of another version, nil if it is of this one.
func otherVersion(version int) *problem.Error {
	if version == protocol.Version {
		return nil
	}
	return problem.New(problem.Usage, "use the same version of aoifleet everywhere", "the control worker speaks version %d of the engine's protocol, and this was sent in version %d", protocol.Version, version)
}

// group is hosts of one site, as indexes of some list.
type group struct {
	site  string
	hosts []int
}

// bySite divides n hosts into groups of at most protocol.MaxMany of one site, in their order.
func bySite(n int, host func(i int) *inventory.Host) []group {
	var list []group
	last := map[string]int{} // by site: its last group
	for i := range n {
		site := host(i).Site()
		at, known := last[site]
		if !known || len(list[at].hosts) == protocol.MaxMany {
			at = len(list)
			last[site], list = at, append(list, group{site: site})
		}
		list[at].hosts = append(list[at].hosts, i)
	}
	return list
}

// listen calls heard with each signal of a name, one at a time.
func listen[T any](ctx workflow.Context, name string, heard func(ctx workflow.Context, v T)) {
	signals := workflow.GetSignalChannel(ctx, name)
	workflow.Go(ctx, func(ctx workflow.Context) {
		for {
			var v T
			signals.Receive(ctx, &v)
			if data, is := any(v).(interface{ Is(signal string) bool }); !is || data.Is(name) {
				heard(ctx, v)
			}
		}
	})
}

// onCancel calls do once the workflow is asked to end. All else runs on the context that it
// returns, which does not end: what is in flight is finished.
func onCancel(ctx workflow.Context, do func(work workflow.Context)) workflow.Context {
	work, _ := workflow.NewDisconnectedContext(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		ctx.Done().Receive(ctx, nil)
		do(work)
	})
	return work
}
