// Package engine reaches a workflow engine, which carries out rollouts past this process, through a
// small program that speaks to it: aoifleet-engine talk. They exchange JSON lines on its standard
// input and output.
package engine

import (
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Protocol is the version of the lines. The program says it in its first line, Hello.
const Protocol = 1

// The most of something in one line.
const (
	MaxPart   = 500      // hosts of a part that has several failure domains
	MaxSurvey = 50       // hosts of a survey
	MaxLine   = 64 << 20 // bytes of an answer, or of a request
)

// Hello is the first line of the program, once it has reached the server.
type Hello struct {
	Protocol int    `json:"protocol"`
	Version  string `json:"version"` // of the program
}

// Decline is the signal for the answer no after a wave: the run ends there.
const Decline = "decline"

// What is asked for: the Do of a Request.
const (
	DoSurvey  = "survey"  // Hosts → Looks
	DoCurrent = "current" // → State of the rollout that is running; none: no State
	DoBegin   = "begin"   // Begin → nothing, or a problem of class locked: another one is running
	DoPart    = "part"    // Part, of the rollout that was begun → nothing; it is taken once
	DoState   = "state"   // → State of the rollout of Run
	DoStates  = "states"  // of Part number N → States
	DoResults = "results" // of part number N, those from From on → Results, at most a page; none: that was all
	DoSignal  = "signal"  // Signal, for approve and decline with N, the wave → nothing
	DoList    = "list"    // the newest N rollouts → List
)

// Run names a run, and who began it.
type Run struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	Tool  string `json:"tool"` // version of the program
}

// Request is a line to the program.
type Request struct {
	ID     int                `json:"id"` // of the answer too; answers come in any order
	Do     string             `json:"do"`
	Run    Run                `json:"run,omitzero"`
	Hosts  []rollout.HostData `json:"hosts,omitempty"`
	Begin  *Begin             `json:"begin,omitempty"`
	Part   *Part              `json:"part,omitempty"`
	N      int                `json:"n,omitempty"`
	From   int                `json:"from,omitempty"`
	Signal string             `json:"signal,omitempty"`
}

// Begin begins a rollout. Its parts follow.
type Begin struct {
	PlanID     string         `json:"plan_id"`
	Policy     rollout.Policy `json:"policy"`
	Hosts      int            `json:"hosts"`
	Parts      int            `json:"parts"`
	Unaccepted bool           `json:"unaccepted,omitempty"`
}

// Part is the hosts of one part.
type Part struct {
	Number  int                 `json:"number"`
	Entries []rollout.EntryData `json:"entries"`
}

// Answer is a line of the program.
type Answer struct {
	ID      int                  `json:"id"`
	Problem *problem.Error       `json:"problem,omitempty"`
	State   *State               `json:"state,omitempty"`
	Looks   []Look               `json:"looks,omitempty"`
	States  []HostState          `json:"states,omitempty"`
	Results []rollout.ResultData `json:"results,omitempty"`
	List    []State              `json:"list,omitempty"`
}

// Look is a rollout.Look as data.
type Look struct {
	Seen    *host.Observation `json:"seen,omitempty"`
	Problem *problem.Error    `json:"problem,omitempty"`
}

// HostState is the state of a host of a part that has ended.
type HostState struct {
	Host int `json:"host"` // index in the part
	rollout.State
}

// State is where a rollout stands.
type State struct {
	Run      Run                     `json:"run"`
	PlanID   string                  `json:"plan_id"`
	Started  time.Time               `json:"started"`
	Hosts    int                     `json:"hosts"`
	Parts    int                     `json:"parts"`             // those that have been started
	Missing  []int                   `json:"missing,omitempty"` // parts that have not arrived: nothing begins without them
	Step     string                  `json:"step"`              // as in rollout.Event without a host
	Wave     int                     `json:"wave"`
	Waves    int                     `json:"waves"`
	Lasts    time.Duration           `json:"lasts"` // of a soak
	Paused   bool                    `json:"paused"`
	Stopping bool                    `json:"stopping"`
	Asks     int                     `json:"asks"` // the wave after which it waits for an approval; 0: it does not
	Totals   map[rollout.Outcome]int `json:"totals"`
	Result   *Result                 `json:"result,omitempty"` // it is over
	Finished time.Time               `json:"finished,omitzero"`
}

// Result is how a rollout has ended.
type Result struct {
	Stopped     bool           `json:"stopped,omitempty"`
	Interrupted bool           `json:"interrupted,omitempty"`
	Ended       bool           `json:"ended,omitempty"`
	Problem     *problem.Error `json:"problem,omitempty"` // nothing was begun, or it was ended from outside
	Lost        []LostPart     `json:"lost,omitempty"`
}

// LostPart is a part that was ended from outside, and the hosts, by their indexes in the plan, that
// are unknown for that reason.
type LostPart struct {
	Part    int            `json:"part"`
	Hosts   []int          `json:"hosts,omitempty"`
	Problem *problem.Error `json:"problem"`
}
