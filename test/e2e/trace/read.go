// Package trace reads the output of strace(1) on a host and judges the calls with
// root's rights. It is pure: it turns text into findings.
package trace

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Options returns the arguments of strace that Read needs. They trace all calls that
// name a file, that change the process or its rights, that change a file
// through a descriptor, and write, which shows the verb.
func Options() []string {
	return []string{"-f", "-ttt", "-y", "-s", "300", "--decode-pids=pidns", "-e", "signal=none", "-e",
		"trace=%file,%process,chdir,fchdir,setuid,setreuid,setresuid,write,fchmod,fchown,fsetxattr,fremovexattr,ftruncate"}
}

// Call is one system call of one thread.
type Call struct {
	PID    int
	Time   float64 // seconds since the epoch, when it began
	Name   string
	Args   []string // as strace writes them
	Result string   // empty if strace did not see its end
	// Child is the process that a call of the clone family has created; 0: none.
	Child int
}

// Line returns the call as strace writes it, without process and time.
func (c *Call) Line() string {
	return c.Name + "(" + strings.Join(c.Args, ", ") + ") = " + c.Result
}

// Failed reports whether the call returned an error, or did not return.
func (c *Call) Failed() bool { return c.Result == "" || c.Result[0] == '-' || c.Result[0] == '?' }

var (
	lineForm   = regexp.MustCompile(`^(\d+) +(\d+\.\d+) (.*)$`)
	resumed    = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	callForm   = regexp.MustCompile(`^(\w+)\((.*)$`)
	resultForm = regexp.MustCompile(`^(.*)\)\s+= (.*)$`)
	outerPID   = regexp.MustCompile(`^\d+ /\* (\d+) in strace's PID NS \*/`)
)

const unfinished = " <unfinished ...>"

// Read parses the output of strace with Options. It returns the calls in the order of
// their begin.
func Read(r io.Reader) ([]*Call, error) {
	var calls []*Call
	open := map[int]*Call{}
	begun := map[int]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		m := lineForm.FindStringSubmatch(lines.Text())
		if m == nil {
			return nil, fmt.Errorf("line %d is not strace's: %.100q", number, lines.Text())
		}
		pid, _ := strconv.Atoi(m[1])
		at, _ := strconv.ParseFloat(m[2], 64)
		text := m[3]
		if strings.HasPrefix(text, "+++") || strings.HasPrefix(text, "---") || strings.HasPrefix(text, "???") {
			continue
		}
		call := open[pid]
		if rest := resumed.FindStringSubmatch(text); rest != nil {
			if call == nil || call.Name != rest[1] {
				continue // it began before the trace
			}
			text = begun[pid] + rest[2]
		} else {
			call = &Call{PID: pid, Time: at}
			calls = append(calls, call)
		}
		delete(open, pid)
		if head, ok := strings.CutSuffix(text, unfinished); ok {
			open[pid], begun[pid] = call, head
			text = head
		}
		if err := call.parse(text); err != nil {
			return nil, fmt.Errorf("line %d: %w: %.200q", number, err, text)
		}
	}
	return calls, lines.Err()
}

func (c *Call) parse(text string) error {
	m := callForm.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("not a call")
	}
	c.Name = m[1]
	rest := m[2]
	if whole := resultForm.FindStringSubmatch(rest); whole != nil {
		rest, c.Result = whole[1], whole[2]
	}
	c.Args = split(rest)
	if child := outerPID.FindStringSubmatch(c.Result); child != nil {
		c.Child, _ = strconv.Atoi(child[1])
	} else if forks[c.Name] && !c.Failed() {
		c.Child, _ = strconv.Atoi(c.Result)
	}
	return nil
}

var forks = map[string]bool{"clone": true, "clone3": true, "fork": true, "vfork": true}

// split splits arguments at the commas between them.
func split(text string) []string {
	var args []string
	depth, from, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{' || c == '(' || c == '<' && i > 0 && text[i-1] != '<' && text[i-1] != ' ':
			depth++
		case c == ']' || c == '}' || c == ')' || c == '>' && depth > 0 && text[i-1] != '=':
			depth--
		case c == ',' && depth == 0:
			args = append(args, strings.TrimSpace(text[from:i]))
			from = i + 1
		}
	}
	if last := strings.TrimSpace(text[from:]); last != "" || len(args) > 0 {
		args = append(args, last)
	}
	return args
}

// unquote parses a string as strace writes it; it returns false if there is none.
func unquote(arg string) (string, bool) {
	if !strings.HasPrefix(arg, `"`) {
		return "", false
	}
	var out strings.Builder
	for i := 1; i < len(arg); i++ {
		if arg[i] == '"' {
			return out.String(), true
		}
		if arg[i] != '\\' || i+1 == len(arg) {
			out.WriteByte(arg[i])
			continue
		}
		i++
		switch c := arg[i]; c {
		case 'n':
			out.WriteByte('\n')
		case 't':
			out.WriteByte('\t')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			end := i + 1
			for end < len(arg) && end < i+3 && arg[end] >= '0' && arg[end] <= '7' {
				end++
			}
			n, _ := strconv.ParseUint(arg[i:end], 8, 16)
			out.WriteByte(byte(n))
			i = end - 1
		default:
			out.WriteByte(c)
		}
	}
	return "", false
}

// decoded returns the path that strace writes in angle brackets after a descriptor.
func decoded(arg string) string {
	_, path, _ := strings.Cut(arg, "<")
	path, ok := strings.CutSuffix(path, ">")
	if !ok || !strings.HasPrefix(path, "/") {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}
