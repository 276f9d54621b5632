package trace

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Rule says what is judged.
type Rule struct {
	// Others are the folders that others than root can write. What is below
	// them is theirs too.
	Others []string
	// Ours tells whether a program with these arguments begins to work for the
	// program under test, as root.
	Ours func(argv []string) bool
	// Exempt are programs that are not judged, nor what they start.
	Exempt []string
}

// Finding is one call that the rule forbids, or one that it allows only because
// it is anchored.
type Finding struct {
	Verb string // of the host's script, and its step
	By   string // the program
	What string // open, create, exec, …
	Why  string // what of the rule it breaks; empty: it is anchored
	Path string
	Time float64
	Line string
}

// Verdict is what came of a trace.
type Verdict struct {
	Sessions int // programs that began to work for us
	Calls    int // by them and their children, with root's rights
	Excused  int // calls that the rule knows, by programs that are exempt
	Broken   []Finding
	Anchored []Finding
}

// process is what is known of one. Children get a copy of it.
type process struct {
	euid    int // -1: not known
	cwd     string
	program string
	ours    *session // nil: none of ours
	bounded bool     // runs beneath timeout(1)
	exempt  bool
}

// session is shared by all processes that descend from one start.
type session struct{ verb string }

type judge struct {
	Rule
	Verdict
	processes map[int]*process
	parents   map[int]int // as long as the call that made the child has not returned
	made      map[string]bool
}

// Judge follows all processes of a trace. A process that was there before is
// taken for none of ours.
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

// process returns what is known of a process. One that is seen before the call
// that made it has returned is a copy of its parent, which waits in that call.
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

// follow judges a call, and then does to the process what the call did.
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
			p.ours.listen(c.Args[1])
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
		p.euid = 0 // they are set-user-ID
	case "timeout":
		p.bounded = true
	}
	p.exempt = p.exempt || slices.Contains(j.Rule.Exempt, p.program)
	if p.ours == nil && p.euid <= 0 && j.Ours(words(argv)) {
		p.ours, p.euid = &session{verb: "?"}, 0
		j.Sessions++
	}
}

// words reads the arguments of a program.
func words(argv string) []string {
	var out []string
	for _, arg := range split(strings.TrimSuffix(strings.TrimPrefix(argv, "["), "]")) {
		word, _ := unquote(arg)
		out = append(out, word)
	}
	return out
}

// setuid notes the effective user: the only argument, or the second one.
func (p *process) setuid(c *Call) {
	arg := c.Args[min(1, len(c.Args)-1)]
	if id, err := strconv.Atoi(arg); err == nil && id >= 0 {
		p.euid = id
	}
}

var verbWords = regexp.MustCompile(`(?:^|\n)(verb|step)=([a-z]+)\n`)

// listen takes the verb from the values that the script gives itself, and the
// step from what it reports.
func (s *session) listen(text string) {
	said, _ := unquote(text)
	for _, m := range verbWords.FindAllStringSubmatch(said, -1) {
		if m[1] == "verb" {
			s.verb = m[2]
		} else {
			s.verb, _, _ = strings.Cut(s.verb, "/")
			s.verb += "/" + m[2]
		}
	}
}

// named is what one argument of a call names.
type named struct {
	path     string // absolute and clean; empty where the folder is not known
	self     bool   // the folder itself: "." or no name at all
	anchored bool   // a single name
}

// resolve turns the argument of a call into a path. at is the descriptor of the
// folder; empty: the call knows none.
func (j *judge) resolve(p *process, at, arg string) named {
	base := p.cwd
	if at != "" && !strings.HasPrefix(at, "AT_FDCWD") {
		base = decoded(at)
	}
	name, _ := unquote(arg)
	if strings.HasPrefix(name, "/") {
		return named{path: path.Clean(name)}
	}
	if base == "" {
		return named{}
	}
	single := strings.TrimPrefix(name, "./")
	return named{
		path:     path.Join(base, name),
		self:     single == "" || single == ".",
		anchored: single != ".." && !strings.Contains(single, "/"),
	}
}

// theirs tells whether others than root can put something else at a path.
func (j *judge) theirs(name string) bool {
	return slices.ContainsFunc(j.Others, func(dir string) bool { return strings.HasPrefix(name, dir+"/") })
}

// shared tells whether a folder's entries can be changed by others than root.
func (j *judge) shared(dir string) bool { return slices.Contains(j.Others, dir) || j.theirs(dir) }

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

// String is the finding on one line.
func (f Finding) String() string {
	return fmt.Sprintf("%-18s %-10s %-7s %s [%s]", f.Verb, f.By, f.What, f.Line, f.Why)
}

var passing = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}|\d{8}-\d{6}-[0-9A-Z]{4}|0x[0-9a-f]+|\{tv_sec=[^/]*\} /\*[^*]*\*/|\b\d+</`)

// Group joins findings that differ only in what differs from run to run, in the
// order in which they came.
func Group(findings []Finding) []string {
	count := map[string]int{}
	var order []string
	for _, f := range findings {
		f.Line = passing.ReplaceAllString(f.Line, "…")
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
