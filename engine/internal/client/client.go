// Package client is what aoifleet has done at a Temporal server: it begins rollouts, asks about them
// and signals them. aoifleet speaks with it in the lines of internal/engine.
package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	enums "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/journal"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// How long answers are waited for.
const (
	answerTime = 20 * time.Second // of a query or a signal
	sendTime   = 2 * time.Minute  // of a part, over a slow line
	surveyTime = 30 * time.Minute
	again      = 200 * time.Millisecond
)

// runMemo is the key of the run in the memo of a rollout, by which it is found.
const runMemo = "run"

// Client speaks to a server. It is safe for concurrent use.
type Client struct {
	server    client.Client
	converter converter.DataConverter
	namespace string

	mu      sync.Mutex
	runs    map[string]string // Temporal's ID of an execution, by the ID of the run
	surveys int
}

// New returns a client of a server, whose payloads the converter encrypts.
func New(server client.Client, namespace string, converter converter.DataConverter) *Client {
	return &Client{server: server, converter: converter, namespace: namespace, runs: map[string]string{}}
}

// survey has hosts observed.
func (c *Client) survey(ctx context.Context, r engine.Request) (looks []engine.Look, err error) {
	c.mu.Lock()
	c.surveys++
	id := protocol.SurveyID(r.Run.ID, c.surveys)
	c.mu.Unlock()
	input := protocol.SurveyInput{Version: protocol.Version, Run: protocol.Run(r.Run), Hosts: r.Hosts, Asked: rand.Text()}
	var reply protocol.Reply[[]engine.Look]
	run, err := c.server.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: id, TaskQueue: protocol.ControlQueue(), WorkflowExecutionTimeout: surveyTime}, protocol.Survey, input)
	if err == nil {
		err = run.Get(ctx, &reply)
	}
	var timeout *temporal.TimeoutError
	if errors.As(err, &timeout) {
		return nil, problem.New(problem.Unreachable, "does the control worker run?", "the survey has not ended within %s", surveyTime)
	}
	if err != nil {
		return nil, err
	}
	return reply.Of(input.Asked)
}

// current returns the state of the rollout that is running, nil if none is.
func (c *Client) current(ctx context.Context) (*engine.State, error) {
	d, err := c.server.DescribeWorkflowExecution(ctx, protocol.RolloutID, "")
	var none *serviceerror.NotFound
	switch {
	case errors.As(err, &none):
		return nil, nil
	case err != nil:
		return nil, err
	case d.WorkflowExecutionInfo.Status != enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		return nil, nil
	}
	return c.stateOf(ctx, d.WorkflowExecutionInfo.Execution.RunId)
}

// begin begins a rollout. If that of the same run has begun it does nothing.
func (c *Client) begin(ctx context.Context, r engine.Request) error {
	if r.Begin == nil {
		return problem.New(problem.Usage, "", "nothing to begin")
	}
	b := r.Begin
	input := protocol.RolloutInput{Version: protocol.Version, Run: protocol.Run(r.Run), PlanID: b.PlanID, Policy: b.Policy, Hosts: b.Hosts, Parts: b.Parts, Unaccepted: b.Unaccepted}
	run, err := c.server.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: protocol.RolloutID, TaskQueue: protocol.ControlQueue(),
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL, WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		WorkflowExecutionErrorWhenAlreadyStarted: true, Memo: map[string]any{runMemo: r.Run}}, protocol.Rollout, input)
	var started *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &started) {
		if _, err := c.find(ctx, r.Run.ID); err == nil || !problem.Is(err, problem.Usage) {
			return err // it is this one, or that is not known
		}
		return problem.New(problem.Locked,
			"carry out the plan again, which follows it if it has the same plan; see: aoifleet runs list --engine URL",
			"another rollout has begun meanwhile")
	}
	if err == nil {
		c.remember(r.Run.ID, run.GetRunID())
	}
	return err
}

func (c *Client) remember(run, execution string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs[run] = execution
}

// part sends a part to a rollout.
func (c *Client) part(ctx context.Context, r engine.Request) error {
	if r.Part == nil {
		return problem.New(problem.Usage, "", "no part to send")
	}
	data := protocol.PartData{Of: r.Run.ID, Number: r.Part.Number, Entries: r.Part.Entries}.Fit(c.encoded)
	if c.encoded(data) > protocol.MaxPartBytes {
		return problem.New(problem.Usage, "have fewer labels and patterns, or more domains: rollout.max_unavailable_per",
			"the settings of %d hosts of one part are larger than a message", len(data.Entries))
	}
	return c.signal(ctx, r.Run.ID, protocol.PartSignal, data)
}

// encoded returns the length of the payload of a part.
func (c *Client) encoded(p protocol.PartData) int {
	payload, err := c.converter.ToPayload(p)
	if err != nil {
		return math.MaxInt // larger than the converter takes
	}
	return proto.Size(payload)
}

// steer sends the verb of an operator to a rollout.
func (c *Client) steer(ctx context.Context, r engine.Request) error {
	var arg any
	switch r.Signal {
	case protocol.ApproveSignal, protocol.DeclineSignal:
		arg = protocol.Steer{Named: protocol.Named{Signal: r.Signal}, Run: r.Run.ID, ID: rand.Text(), Wave: r.N}
	case protocol.ResumeSignal:
		arg = protocol.Steer{Named: protocol.Named{Signal: r.Signal}, Run: r.Run.ID, ID: rand.Text()}
	case protocol.StopSignal, protocol.PauseSignal:
	default:
		return problem.New(problem.Usage, "", "there is no signal %s", display.Quote(r.Signal, 100))
	}
	return c.signal(ctx, r.Run.ID, r.Signal, arg)
}

func (c *Client) signal(ctx context.Context, run, name string, arg any) error {
	execution, err := c.find(ctx, run)
	if err != nil {
		return err
	}
	return c.server.SignalWorkflow(ctx, protocol.RolloutID, execution, name, arg)
}

// state returns the state of a run's rollout.
func (c *Client) state(ctx context.Context, run string) (*engine.State, error) {
	execution, err := c.find(ctx, run)
	if err != nil {
		return nil, err
	}
	return c.stateOf(ctx, execution)
}

// stateOf returns the state of an execution. One that was ended from outside has a result that says so.
func (c *Client) stateOf(ctx context.Context, execution string) (*engine.State, error) {
	s, err := ask[engine.State](ctx, c, protocol.RolloutID, execution, protocol.StateQuery, 0)
	if err != nil {
		return nil, err
	}
	if s.Result == nil {
		d, err := c.server.DescribeWorkflowExecution(ctx, protocol.RolloutID, execution)
		if err != nil {
			return nil, err
		}
		switch status := d.WorkflowExecutionInfo.Status; status {
		case enums.WORKFLOW_EXECUTION_STATUS_RUNNING:
		case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED: // since the query
			return c.stateOf(ctx, execution)
		default:
			s.Result = &engine.Result{Problem: problem.New(problem.Internal,
				protocol.LookYourself, "the rollout was ended from outside: %s", status)}
			s.Finished = d.WorkflowExecutionInfo.CloseTime.AsTime()
		}
	}
	return &s, nil
}

// ofPart asks a part of a run.
func ofPart[T any](ctx context.Context, c *Client, r engine.Request, query string) (answer T, err error) {
	if !journal.IsID(r.Run.ID) {
		return answer, noRun(r.Run.ID)
	}
	return ask[T](ctx, c, protocol.PartID(r.Run.ID, r.N), "", query, r.From)
}

// ask asks a workflow.
func ask[T any](ctx context.Context, c *Client, id, execution, query string, from int) (answer T, err error) {
	q := protocol.Question{Asked: rand.Text(), From: from}
	value, err := c.query(ctx, id, execution, query, q)
	if err != nil {
		return answer, err
	}
	var reply protocol.Reply[T]
	if err := value.Get(&reply); err != nil {
		return answer, err
	}
	return reply.Of(q.Asked)
}

// query asks a workflow. One that is just being started can't answer: it is asked again.
func (c *Client) query(ctx context.Context, id, execution, query string, arg any) (converter.EncodedValue, error) {
	for {
		value, err := c.server.QueryWorkflow(ctx, id, execution, query, arg)
		if err == nil {
			return value, nil
		}
		var notYet *serviceerror.WorkflowNotReady
		var failed *serviceerror.QueryFailed
		var none *serviceerror.NotFound
		starting := errors.As(err, &notYet) || errors.As(err, &failed) || errors.As(err, &none) && execution == ""
		if !starting || unreadable(err) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(again):
		}
	}
}

// list returns the states of the newest rollouts.
func (c *Client) list(ctx context.Context, n int) (list []engine.State, err error) {
	found, err := c.executions(ctx, n)
	for _, e := range found {
		s, stateErr := c.stateOf(ctx, e.Execution.RunId)
		if stateErr != nil {
			return list, stateErr
		}
		list = append(list, *s)
	}
	return list, err
}

// executions returns the newest rollouts, at most n.
func (c *Client) executions(ctx context.Context, n int) ([]*workflow.WorkflowExecutionInfo, error) {
	answer, err := c.server.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{Namespace: c.namespace, PageSize: int32(min(max(n, 1), mostListed)),
		Query: fmt.Sprintf("WorkflowId = '%s'", protocol.RolloutID)}) // newest first
	if err != nil {
		return nil, err
	}
	return answer.Executions[:min(len(answer.Executions), max(n, 1))], nil
}

// mostListed is among how many rollouts a run is found.
const mostListed = 1000

// find returns Temporal's ID of a run's execution.
func (c *Client) find(ctx context.Context, run string) (string, error) {
	c.mu.Lock()
	known := c.runs[run]
	c.mu.Unlock()
	if known != "" {
		return known, nil
	}
	if !journal.IsID(run) {
		return "", noRun(run)
	}
	// What runs is known before it can be listed.
	d, err := c.server.DescribeWorkflowExecution(ctx, protocol.RolloutID, "")
	if err == nil && c.isOf(d.WorkflowExecutionInfo, run) {
		return d.WorkflowExecutionInfo.Execution.RunId, nil
	}
	found, err := c.executions(ctx, mostListed)
	readable := true
	for _, e := range found {
		if c.isOf(e, run) {
			return e.Execution.RunId, nil
		}
		readable = readable && c.converter.FromPayload(e.GetMemo().GetFields()[runMemo], &engine.Run{}) == nil
	}
	switch {
	case err != nil:
		return "", err
	case !readable:
		return "", problem.New(problem.Usage, "has this program the payload keys of the control worker?",
			"there is no run %s among those that this program can read", display.Quote(run, 100))
	}
	return "", noRun(run)
}

// isOf reports whether an execution is that of a run, and remembers it then.
func (c *Client) isOf(e *workflow.WorkflowExecutionInfo, run string) bool {
	var is engine.Run
	payload := e.GetMemo().GetFields()[runMemo]
	if payload == nil || c.converter.FromPayload(payload, &is) != nil || is.ID != run {
		return false
	}
	c.remember(run, e.Execution.RunId)
	return true
}

func noRun(run string) error {
	return problem.New(problem.Usage, "see: aoifleet runs list --engine URL", "there is no run %s", display.Quote(run, 100))
}

// unreadable reports whether the control worker could not read what it was asked, or this program why
// a workflow has failed. Both are only in the texts of Temporal's SDK.
func unreadable(err error) bool {
	said := err.Error()
	return strings.Contains(said, "unable to decode the input") || strings.Contains(said, "Encoded failure")
}

// explain returns an error of the server as a problem.
func explain(err error, limit time.Duration) *problem.Error {
	var none *serviceerror.NotFound
	var denied *serviceerror.PermissionDenied
	var noNamespace *serviceerror.NamespaceNotFound
	said := display.Sanitise(err.Error(), 300)
	switch own := problem.As(err); {
	case own != nil:
		return own
	case unreadable(err):
		return problem.New(problem.Unexpected, "has this program the payload keys of the control worker?",
			"this program and the control worker can't read each other: %s", said)
	case errors.As(err, &noNamespace):
		return problem.New(problem.Usage, "the URL names it", "the server has no such namespace: %s", said)
	case errors.As(err, &none):
		return problem.New(problem.Usage, "see: aoifleet runs list --engine URL", "the server does not know it: %s", said)
	case errors.As(err, &denied):
		return problem.New(problem.Forbidden, "", "the server refuses it: %s", said)
	case errors.Is(err, context.DeadlineExceeded):
		return problem.New(problem.Unreachable, "do the server and the control worker run?", "no answer within %s", limit)
	}
	return problem.New(problem.Unreachable, "do the server and the control worker run?", "the server does not answer: %s", said)
}
