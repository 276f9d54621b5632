//go:build linux

package main

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	enums "go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
)

// flows are the histories of a rotation.
type flows struct {
	rollout        history
	signals        int // that the rollout has got
	parts, surveys []history
	tasks          int // activities of the parts and surveys
	again          int // tasks that failed, took too long, or were tried again
	unalike        int // bytes of the parts' data, if the hosts were not alike
}

// history is the size of the history of one workflow.
type history struct {
	events int
	bytes  int
}

func historyOf(info *workflow.WorkflowExecutionInfo) history {
	return history{events: int(info.HistoryLength), bytes: int(info.HistorySizeBytes)}
}

// read returns the histories of the last rotation.
func (b *bench) read(ctx context.Context) (f flows, err error) {
	d, err := b.client.DescribeWorkflowExecution(ctx, protocol.RolloutID, "")
	if err != nil {
		return f, err
	}
	f.rollout = historyOf(d.WorkflowExecutionInfo)
	begun := d.WorkflowExecutionInfo.StartTime.AsTime()
	parts := 0
	if err := b.events(ctx, protocol.RolloutID, func(e *historypb.HistoryEvent) error {
		f.note(e)
		if e.EventType == enums.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED {
			parts++
		}
		signal := e.GetWorkflowExecutionSignaledEventAttributes()
		if signal == nil {
			return nil
		}
		f.signals++
		if signal.SignalName != protocol.PartSignal {
			return nil
		}
		size, err := b.unalike(signal.Input)
		f.unalike += size
		return err
	}); err != nil {
		return f, err
	}
	if f.parts, err = b.list(ctx, parts, protocol.Part, begun, f.note); err != nil {
		return f, err
	}
	// Those of plan and of rotate, since the last time.
	f.surveys, err = b.list(ctx, 1, protocol.Survey, b.begun, f.note)
	return f, err
}

// note counts an event.
func (f *flows) note(e *historypb.HistoryEvent) {
	switch e.EventType {
	case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
		f.tasks++
	case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
		if e.GetActivityTaskStartedEventAttributes().Attempt > 1 {
			f.again++
		}
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED, enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT,
		enums.EVENT_TYPE_WORKFLOW_TASK_FAILED, enums.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT:
		f.again++
	}
}

// own matches what hosts may have each for itself: digests, numbers, times and addresses.
var own = regexp.MustCompile(`[0-9A-Fa-f]{16,}|[0-9]+`)

// unalike returns how many bytes the data of a part would take, compressed, if each number and each
// digest were another one on each host: the servers of the bench answer all the same.
func (b *bench) unalike(part *commonpb.Payloads) (size int, err error) {
	var data json.RawMessage
	if err := b.converter.FromPayloads(part, &data); err != nil {
		return 0, err
	}
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	_, err = w.Write(own.ReplaceAllFunc(data, func(text []byte) []byte {
		digits := "0123456789abcdef"
		if len(text) < 16 {
			digits = digits[:10]
		}
		other := make([]byte, len(text))
		for i := range other {
			other[i] = digits[rand.IntN(len(digits))]
		}
		return other
	}))
	err = errors.Join(err, w.Close())
	return out.Len(), err
}

// events calls each with every event of the newest execution of a workflow.
func (b *bench) events(ctx context.Context, id string, each func(*historypb.HistoryEvent) error) error {
	events := b.client.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err == nil {
			err = each(event)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// list returns the histories of the workflows of a kind that have begun since, at least so many: the
// server's list of them is a little late. It calls each with their events.
func (b *bench) list(ctx context.Context, least int, kind string, since time.Time,
	each func(*historypb.HistoryEvent)) (all []history, err error) {
	query := fmt.Sprintf("WorkflowType = '%s' AND StartTime >= '%s'", kind, since.UTC().Format(time.RFC3339Nano))
	var found []*workflow.WorkflowExecutionInfo
	for len(found) < least {
		if found, err = b.page(ctx, query); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, info := range found {
		d, err := b.client.DescribeWorkflowExecution(ctx, info.Execution.WorkflowId, "")
		if err != nil {
			return nil, err
		}
		all = append(all, historyOf(d.WorkflowExecutionInfo))
		if err := b.events(ctx, info.Execution.WorkflowId, func(e *historypb.HistoryEvent) error {
			each(e)
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// page returns what a query finds; a rotation has fewer workflows than a page has room for.
func (b *bench) page(ctx context.Context, query string) ([]*workflow.WorkflowExecutionInfo, error) {
	answer, err := b.client.ListWorkflow(ctx,
		&workflowservice.ListWorkflowExecutionsRequest{Namespace: "default", PageSize: 1000, Query: query})
	if err != nil {
		return nil, err
	}
	return answer.Executions, nil
}

// sum adds up histories, and returns the most of each.
func sum(list []history) (all, most history) {
	for _, h := range list {
		all.events, all.bytes = all.events+h.events, all.bytes+h.bytes
		most.events, most.bytes = max(most.events, h.events), max(most.bytes, h.bytes)
	}
	return all, most
}
