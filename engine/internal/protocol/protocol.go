// Package protocol has what the programs of the engine say to each other through the server: the
// names of queues, workflows, signals and queries, and the data that they carry. None of it holds a
// secret: no bytes of a certificate, no key, no password.
package protocol

import (
	"fmt"
	"time"

	"github.com/aoifleet/aoifleet/internal/host"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/rollout"
)

// Version is the version of workflows and data. A worker refuses requests of another one, and a
// control worker has a queue of its own version, so that it never continues a run of another. Raise
// it when a recorded history can no longer be replayed.
const Version = 1

// RolloutID is the ID of the workflow of a rollout: one at a time in a namespace, which is a fleet.
const RolloutID = "aoifleet-rollout"

// PartID returns the ID of a part's workflow; parts are counted from 0.
func PartID(run string, part int) string { return fmt.Sprintf("aoifleet-%s-part-%03d", run, part) }

// SurveyID returns the ID of a survey's workflow.
func SurveyID(run string, n int) string { return fmt.Sprintf("aoifleet-%s-survey-%03d", run, n) }

// ControlQueue is the task queue of the workflows.
func ControlQueue() string { return fmt.Sprintf("aoifleet-control-%d", Version) }

// SiteQueue returns the task queue of the workers of a site.
func SiteQueue(site string) string { return "aoifleet-site-" + site }

// The workflows.
const (
	Rollout = "Rollout" // RolloutInput → RolloutResult
	Part    = "Part"    // PartInput → nothing: see ResultsQuery. A host without an outcome was skipped
	Survey  = "Survey"  // SurveyInput → Reply of []LookData
)

// The signals. Whoever has access to the namespace can send one, and copy one that was sent: so each
// but StopSignal and PauseSignal of a rollout, which only end and hold, says what it belongs to, and
// which signal it is: see Named.
const (
	PartSignal    = "part"    // to a rollout, from the client: PartData, one for each part
	StopSignal    = "stop"    // to a rollout, and from it to its parts (Told): what is in flight is finished or undone
	PauseSignal   = "pause"   // to a rollout, and from it to its parts (Told): nothing new starts
	ResumeSignal  = "resume"  // ends a pause: Steer
	ApproveSignal = "approve" // to a rollout that asks whether to continue after a wave: Steer
	DeclineSignal = "decline" // the same, and the rollout ends there: Steer
	CommandSignal = "command" // to a part: Command
	GoOnSignal    = "goon"    // to a part, the answer to Ended: Told
	SpentSignal   = "spent"   // to a part: the failure budget is spent: Told
	EndSignal     = "end"     // to a part: the run is over: Told
	EndedSignal   = "ended"   // to a rollout, from a part: Ended
	DoneSignal    = "done"    // to a rollout, from a part: Done
	TurnSignal    = "turn"    // to a rollout, from a part that must restart agents in a soak: Turn; and its answer: Told
)

// The queries: Question → Reply.
const (
	StateQuery   = "state"   // of a rollout → RolloutState
	StatesQuery  = "states"  // of a part → []HostState of the hosts that have ended
	ResultsQuery = "results" // of a part, with From → []rollout.ResultData, as many as fit; none: that was all
)

// Question is the argument of a query.
type Question struct {
	Asked string `json:"asked"` // another text for each
	From  int    `json:"from,omitempty"`
}

// Reply is an answer of the control worker. Who takes tasks from its queue can't make an answer, but
// could give a copy of an old one: so it repeats what was Asked. That has another key there, so that
// a question is no answer either.
type Reply[T any] struct {
	To     string `json:"to"`
	Answer T      `json:"answer"`
}

// ReplyTo returns the Reply to what was asked.
func ReplyTo[T any](asked string, answer T) Reply[T] { return Reply[T]{asked, answer} }

// Of returns the answer, or an error of class unexpected if it is one to something else.
func (r Reply[T]) Of(asked string) (answer T, err error) {
	if r.To != asked || asked == "" {
		return answer, problem.New(problem.Unexpected, "who else may use the namespace?",
			"the answer is a copy of one to another question")
	}
	return r.Answer, nil
}

// The most of something in one message. A server accepts payloads of 2 MiB (its BlobSizeLimitError),
// and 4 MiB in one request of a worker: all that a workflow begins at once. See bound.go.
const (
	MaxPart   = 500 // hosts; more only if they are one failure domain, see rollout.MaxPart
	MaxMany   = 100 // hosts of one SoakMany
	MaxSurvey = 50  // hosts of one Survey, and so of one ObserveMany

	MaxPartBytes = 1792 << 10 // of the payload of a PartData: PartInput adds the policy
	MaxPage      = 1 << 20    // bytes of JSON of results, unless it is one
	MaxLook      = 32 << 10   // bytes of JSON of what was seen on a host
	MaxReport    = 32 << 10   // bytes of JSON of what a host has said of a change
	MaxPath      = 1 << 10    // bytes of each path of a certificate
	MaxText      = 1000       // bytes of a problem
)

// Run names a run to the hosts, and who began it.
type Run struct {
	ID    string `json:"id"`
	Owner string `json:"owner"`
	Tool  string `json:"tool"` // version of the program
}

// RolloutInput starts a rollout. Its hosts follow by PartSignal.
type RolloutInput struct {
	Version    int            `json:"version"`
	Run        Run            `json:"run"`
	PlanID     string         `json:"plan_id"`
	Policy     rollout.Policy `json:"policy"`
	Hosts      int            `json:"hosts"`
	Parts      int            `json:"parts"`
	Unaccepted bool           `json:"unaccepted,omitempty"`
}

// Named is in the data of a signal. Without its name the copy of a no could be sent as a yes: the data
// of several signals look alike.
type Named struct {
	Signal string `json:"signal"`
}

// Is reports whether the data is that of the signal.
func (n Named) Is(signal string) bool { return n.Signal == signal }

// Steer is what an operator tells a rollout.
type Steer struct {
	Named
	Run  string `json:"run"`
	ID   string `json:"id"`             // another one for each: a copy is not heard
	Wave int    `json:"wave,omitempty"` // that is approved or declined
}

// Told is what a rollout tells a part.
type Told struct {
	Named
	Run    string `json:"run"`
	Part   int    `json:"part"`
	Number int    `json:"number,omitempty"` // of what is answered; those of pauses and their ends grow
}

// From says which part of which run something is from. The numbers of a part grow.
type From struct {
	Named
	Run    string `json:"run"`
	Part   int    `json:"part"`
	Number int    `json:"sent"`
}

// PartData is the hosts of one part.
type PartData struct {
	Of      string              `json:"of"`     // the run
	Number  int                 `json:"number"` // counted from 0
	Entries []rollout.EntryData `json:"entries"`
}

// PartInput starts a part.
type PartInput struct {
	Version int            `json:"version"`
	Run     Run            `json:"run"`
	Policy  rollout.Policy `json:"policy"`
	PartData
}

// Command is one verb for hosts of a part.
type Command struct {
	Named
	Run      string       `json:"run"`
	Part     int          `json:"part"`
	Number   int          `json:"number"` // counted from 1, in the whole run
	Verb     rollout.Verb `json:"verb"`
	Hosts    []int        `json:"hosts"`    // indexes in the part
	Parallel int          `json:"parallel"` // restarts at once
}

// HostState is the state of a host of a part.
type HostState struct {
	Host int `json:"host"` // index in the part
	rollout.State
}

// Ended is an outcome that counts for the failure budget. The part starts nothing new until it is
// answered.
type Ended struct {
	From
	HostState
}

// Turn asks for the right to restart agents in a soak, or gives it back.
type Turn struct {
	From
	Over bool `json:"over,omitempty"`
}

// Done is the end of a command, with the states that have changed since the one before.
type Done struct {
	From
	Command int         `json:"command"` // its number
	States  []HostState `json:"states"`
}

// RolloutResult is how a rollout has ended.
type RolloutResult struct {
	Stopped     bool           `json:"stopped,omitempty"`
	Interrupted bool           `json:"interrupted,omitempty"`
	Ended       bool           `json:"ended,omitempty"`
	Problem     *problem.Error `json:"problem,omitempty"` // nothing was begun
	Lost        []LostPart     `json:"lost,omitempty"`
}

// LookYourself is the hint where the engine does not know how hosts are.
const LookYourself = "aoifleet status, on a machine that reaches the hosts, says how they are"

// LostPart is a part that was ended from outside, and the hosts, by their indexes in the plan, that
// are unknown for that reason. The results that it still has do not say so.
type LostPart struct {
	Part    int            `json:"part"`
	Hosts   []int          `json:"hosts,omitempty"`
	Problem *problem.Error `json:"problem"`
}

// RolloutState is where a rollout stands.
type RolloutState struct {
	Run      Run                     `json:"run"`
	PlanID   string                  `json:"plan_id"`
	Started  time.Time               `json:"started"`
	Hosts    int                     `json:"hosts"`
	Parts    int                     `json:"parts"`             // those that have been started
	Missing  []int                   `json:"missing,omitempty"` // parts that have not arrived
	Step     string                  `json:"step"`              // as in a rollout.Event without a host: stage, wave, …
	Wave     int                     `json:"wave"`
	Waves    int                     `json:"waves"`
	Lasts    time.Duration           `json:"lasts"` // of a soak
	Paused   bool                    `json:"paused"`
	Stopping bool                    `json:"stopping"`
	Asks     int                     `json:"asks"`             // the wave after which it waits for ApproveSignal; 0: it does not
	Totals   map[rollout.Outcome]int `json:"totals"`           // of the hosts that have ended, as far as the rollout knows
	Result   *RolloutResult          `json:"result,omitempty"` // it is over
	Finished time.Time               `json:"finished,omitzero"`
}

// SurveyInput starts a survey of at most MaxSurvey hosts.
type SurveyInput struct {
	Version int                `json:"version"`
	Run     Run                `json:"run"`
	Hosts   []rollout.HostData `json:"hosts"`
	Asked   string             `json:"asked"` // see Reply
}

// LookData is a rollout.Look as data.
type LookData struct {
	Seen    *host.Observation `json:"seen,omitempty"`
	Problem *problem.Error    `json:"problem,omitempty"`
}

// How long the activities of a site are waited for.
const (
	Heartbeat = 30 * time.Second // without a sign of life from an activity its worker is lost
	Beat      = 10 * time.Second // between two signs of life
	Start     = time.Minute      // until a worker of the site must have begun one
)

// The activities of a site's workers. Each gives a sign of life every Beat.
const (
	ObserveMany = "ObserveMany" // ManyHosts → []LookData
	Observe     = "Observe"     // OneHost → LookData
	Stage       = "Stage"       // OneHost → Answer; may be repeated
	Rotate      = "Rotate"      // OneHost → host.Report; never repeated
	Recover     = "Recover"     // OneHost → host.Report; may be repeated
	Discard     = "Discard"     // OneHost → Answer; may be repeated
	SoakMany    = "SoakMany"    // SoakHosts → Soaked; may be repeated
)

// OneHost asks for something on one host. Which fields are needed depends on the activity.
type OneHost struct {
	Version int                 `json:"version"`
	Run     Run                 `json:"run"` // of an undo: with its own ID
	Host    rollout.HostData    `json:"host"`
	Unit    string              `json:"unit"`             // its own name, if the inventory has an alias
	Digest  string              `json:"digest,omitempty"` // of the certificate's file to stage
	Options host.ObserveOptions `json:"options,omitzero"`
	Change  *host.Change        `json:"change,omitempty"`
}

// ManyHosts asks for observations of hosts of one site.
type ManyHosts struct {
	Version int                `json:"version"`
	Run     Run                `json:"run"`
	Hosts   []rollout.HostData `json:"hosts"`
}

// SoakHosts asks to watch hosts of one site until the end of a soak, or until one is not well.
type SoakHosts struct {
	Version int                  `json:"version"`
	Run     Run                  `json:"run"`
	Policy  rollout.Policy       `json:"policy"`
	Hosts   []rollout.ResultData `json:"hosts"`
	End     time.Time            `json:"end"`  // by the clock of the control worker
	Left    time.Duration        `json:"left"` // until then, when this was asked for
}

// Soaked is what a soak has found.
type Soaked struct {
	Found []rollout.SoakFinding `json:"found"` // by indexes of SoakHosts.Hosts
	Over  bool                  `json:"over"`
}

// Answer is the answer of an activity that returns nothing else.
type Answer struct {
	Problem *problem.Error `json:"problem,omitempty"`
	Unsent  bool           `json:"unsent,omitempty"` // of Stage: nothing was staged, not even in part
}
