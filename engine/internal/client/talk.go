package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/aoifleet/aoifleet/engine/internal/protocol"
	"github.com/aoifleet/aoifleet/internal/engine"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Talk answers the lines of in on out until in ends. version is that of the program.
func (c *Client) Talk(ctx context.Context, in io.Reader, out io.Writer, version string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var writing sync.Mutex
	write := func(line any) error {
		text, err := json.Marshal(line)
		if err != nil {
			return err
		}
		writing.Lock()
		defer writing.Unlock()
		_, err = out.Write(append(text, '\n'))
		return err
	}
	if err := write(engine.Hello{Protocol: engine.Protocol, Version: version}); err != nil {
		return err
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, engine.MaxLine)
	var answers sync.WaitGroup
	defer answers.Wait()
	defer cancel()
	for lines.Scan() {
		var r engine.Request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return errors.New("what was asked is no request")
		}
		answers.Go(func() {
			// A line that can't be written has no reader: in has ended too.
			_ = write(c.answer(ctx, r))
		})
	}
	return lines.Err()
}

// answer does what a request asks for.
func (c *Client) answer(ctx context.Context, r engine.Request) engine.Answer {
	limit := answerTime
	if r.Do == engine.DoBegin || r.Do == engine.DoPart {
		limit = sendTime
	}
	if r.Do != engine.DoSurvey {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	a := engine.Answer{ID: r.ID}
	var err error
	switch r.Do {
	case engine.DoSurvey:
		a.Looks, err = c.survey(ctx, r)
	case engine.DoCurrent:
		a.State, err = c.current(ctx)
	case engine.DoBegin:
		err = c.begin(ctx, r)
	case engine.DoPart:
		err = c.part(ctx, r)
	case engine.DoState:
		a.State, err = c.state(ctx, r.Run.ID)
	case engine.DoStates:
		a.States, err = ofPart[[]engine.HostState](ctx, c, r, protocol.StatesQuery)
	case engine.DoResults:
		a.Results, err = ofPart[[]rollout.ResultData](ctx, c, r, protocol.ResultsQuery)
	case engine.DoSignal:
		err = c.steer(ctx, r)
	case engine.DoList:
		a.List, err = c.list(ctx, r.N)
	default:
		err = problem.New(problem.Usage, "install both programs from one release", "this program can't %s", r.Do)
	}
	if err != nil {
		a.Problem = explain(err, limit)
	}
	return a
}
