package trace

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule selects the calls to judge.
type Rule struct {
	// Others are the folders that non-root users can write. Everything below
	// them counts too.
	Others []string
	// Ours reports whether a program with these arguments begins a session of the
	// program under test, as root.
	Ours func(argv []string) bool
	// Exempt are programs that are not judged, nor their children.
	Exempt []string
}

// Finding is one call that the rule forbids, or allows only because it is anchored.
type Finding struct {
	Verb string // of the host's script, and its step
	By   string // the program
	What string // open, create, exec, …
	Why  string // the violated part of the rule; empty: the call is anchored
	Path string
	Time float64
	Line string
}

// Verdict is the result of a trace.
type Verdict struct {
	Sessions int // sessions that began
	Calls    int // calls in the sessions, with root's rights
	Excused  int // calls of exempt programs
	Broken   []Finding
	Anchored []Finding
}

// process is the known state of a process. Children get a copy of it.
type process struct {
	euid    int // -1: unknown
	cwd     string
	program string
	ours    *session // nil: not in a session
	bounded bool     // runs under timeout(1)
	exempt  bool
}

// session is shared by all processes that descend from one start.
type session struct{ verb string }

type judge struct {
	Rule
	Verdict
	processes map[int]*process
	parents   map[int]int // until the call that created the child has returned
	made      map[string]bool
}

// Judge follows all processes of a trace. A process that existed before the trace
// counts as outside of all sessions.
func Judge(calls []*Call, rule Rule) *Verdict {
	j := &judge{Rule: rule, processes: map[int]*process{}, parents: map[int]int{}, made: map[string]bool{}}
	for _, c := range calls {
		if c.Child != 0 {
			j.parents[c.Child] = c.PID
		}
	}
	for _, c := range calls {
		j.follow(c)
	}
	return &j.Verdict
}

// process returns the known state of a process. A process that appears before the
// call that created it has returned is a copy of its parent, which waits in that call.
func (j *judge) process(pid int) *process {
	if p := j.processes[pid]; p != nil {
		return p
	}
	p := &process{euid: -1}
	if parent, ok := j.parents[pid]; ok {
		*p = *j.process(parent)
	}
	j.processes[pid] = p
	return p
}

// follow judges a call, and then applies its effect to the process.
func (j *judge) follow(c *Call) {
	p := j.process(c.PID)
	if len(c.Args) > 0 && strings.HasPrefix(c.Args[0], "AT_FDCWD</") {
		p.cwd = decoded(c.Args[0])
	}
	if p.ours != nil && p.euid == 0 {
		j.Calls++
		j.judge(c, p)
	}
	if c.Failed() {
		return
	}
	switch c.Name {
	case "clone", "clone3", "fork", "vfork":
		if c.Child != 0 {
			j.process(c.Child)
		}
	case "execve", "execveat":
		j.exec(c, p)
	case "chdir":
		p.cwd = j.resolve(p, "", c.Args[0]).path
	case "fchdir":
		p.cwd = decoded(c.Args[0])
	case "setuid", "setreuid", "setresuid":
		p.setuid(c)
	case "write":
		if p.ours != nil {
			p.ours.noteVerb(c.Args[1])
		}
	}
}

func (j *judge) exec(c *Call, p *process) {
	file, argv := c.Args[0], c.Args[1]
	if c.Name == "execveat" {
		file, argv = c.Args[1], c.Args[2]
	}
	p.program, _ = unquote(file)
	switch path.Base(p.program) {
	case "sudo", "su":
		p.euid = 0 // these programs are set-user-ID
	case "timeout":
		p.bounded = true
	}
	p.exempt = p.exempt || slices.Contains(j.Rule.Exempt, p.program)
	if p.ours == nil && p.euid <= 0 && j.Ours(splitArguments(argv)) {
		p.ours, p.euid = &session{verb: "?"}, 0
		j.Sessions++
	}
}

// splitArguments parses the arguments of a program.
func splitArguments(argv string) []string {
	var out []string
	for _, arg := range split(strings.TrimSuffix(strings.TrimPrefix(argv, "["), "]")) {
		word, _ := unquote(arg)
		out = append(out, word)
	}
	return out
}

// setuid records the effective user: the only argument, or the second one.
func (p *process) setuid(c *Call) {
	arg := c.Args[min(1, len(c.Args)-1)]
	if id, err := strconv.Atoi(arg); err == nil && id >= 0 {
		p.euid = id
	}
}

var verbWords = regexp.MustCompile(`(?:^|\n)(verb|step)=([a-z]+)\n`)

// noteVerb records the verb from the script's values, and the step from its
// reports.
func (s *session) noteVerb(text string) {
	written, _ := unquote(text)
	for _, m := range verbWords.FindAllStringSubmatch(written, -1) {
		if m[1] == "verb" {
			s.verb = m[2]
		} else {
			s.verb, _, _ = strings.Cut(s.verb, "/")
			s.verb += "/" + m[2]
		}
	}
}

// operand is the file that an argument of a call names.
type operand struct {
	path     string // absolute and clean; empty if the folder is unknown
	self     bool   // the folder itself: "." or no name at all
	anchored bool   // a single name
}

// resolve returns the operand of an argument of a call. at is the descriptor of the
// folder; empty: the call has none.
func (j *judge) resolve(p *process, at, arg string) operand {
	base := p.cwd
	if at != "" && !strings.HasPrefix(at, "AT_FDCWD") {
		base = decoded(at)
	}
	name, _ := unquote(arg)
	if strings.HasPrefix(name, "/") {
		return operand{path: path.Clean(name)}
	}
	if base == "" {
		return operand{}
	}
	single := strings.TrimPrefix(name, "./")
	return operand{
		path:     path.Join(base, name),
		self:     single == "" || single == ".",
		anchored: single != ".." && !strings.Contains(single, "/"),
	}
}

// replaceable reports whether non-root users can replace the file at a path.
func (j *judge) replaceable(name string) bool {
	return slices.ContainsFunc(j.Others, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
}

// writableByOthers reports whether non-root users can change a folder's entries.
func (j *judge) writableByOthers(dir string) bool {
	return slices.Contains(j.Others, dir) || j.replaceable(dir)
}

func (j *judge) note(c *Call, p *process, what, file, why string) {
	if p.exempt {
		j.Excused++
		return
	}
	f := Finding{Verb: p.ours.verb, By: path.Base(p.program), What: what, Why: why, Path: file, Time: c.Time, Line: c.Line()}
	if why == "" {
		j.Anchored = append(j.Anchored, f)
	} else {
		j.Broken = append(j.Broken, f)
	}
}

// String returns the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%-18s %-10s %-7s %s [%s]", f.Verb, f.By, f.What, f.Line, f.Why)
}

var variableText = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\d{8}-\d{6}-[0-9A-Z]{4}|0x[0-9a-f]+|\{tv_sec=[^/]*\} /\*[^*]*\*/|\b\d+</`)

// Group joins findings that differ only in text that varies between runs, in their
// order.
func Group(findings []Finding) []string {
	count := map[string]int{}
	var order []string
	for _, f := range findings {
		f.Line = variableText.ReplaceAllString(f.Line, "…")
		text := f.String()
		if count[text]++; count[text] == 1 {
			order = append(order, text)
		}
	}
	for i, text := range order {
		order[i] = fmt.Sprintf("%3d× %s", count[text], text)
	}
	return order
}
