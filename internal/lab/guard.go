package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The target that wants the agent, and the directory of its units.
const (
	wantingTarget = "multi-user.target"
	unitDir       = "/etc/systemd/system"
)

// guard is a unit that undoes an interrupted rotation at boot, as far as the
// lab supports it: a file aoifleet-guard-*.service that is linked under the
// target. The lab uses Before=, ConditionPathExists= and ExecStart= of the unit file;
// only the boot reads it, so it needs no daemon-reload.
type guard struct {
	name       string
	before     []string
	conditions []string
	argv       []string // nil: no ExecStart=
}

// guards returns the linked guards in the order of their names.
func (m *Machine) guards() []guard {
	links, _ := filepath.Glob(m.inRoot(unitDir + "/" + wantingTarget + ".wants/aoifleet-guard-*.service"))
	var found []guard
	for _, link := range links {
		info, err := os.Lstat(link)
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			continue // systemd.unit(5) allows only links there
		}
		name := filepath.Base(link)
		text, err := os.ReadFile(m.inRoot(unitDir + "/" + name))
		if err != nil {
			continue // a link to a missing unit is skipped
		}
		g, err := parseGuard(name, string(text))
		if err != nil {
			m.fleet.opts.Notice(fmt.Sprintf("machine %s: unit %s: %v", m.Name, name, err))
			continue
		}
		found = append(found, g)
	}
	return found
}

// guardCommand returns the command of a linked guard whose conditions hold, else nil.
func (m *Machine) guardCommand(name string) []string {
	for _, g := range m.guards() {
		if g.name == name && g.holds() {
			return g.argv
		}
	}
	return nil
}

// runGuards runs the guards ordered before the agent, or the others, and waits for them.
func (m *Machine) runGuards(l *life, guards []guard, first bool) {
	for _, g := range guards {
		if slices.Contains(g.before, Unit) == first && g.argv != nil && g.holds() {
			l.systemd.runTimed(l.ctx, g.argv)
		}
	}
}

// holds reports whether the conditions hold (systemd.unit(5), "Conditions and
// asserts"): at least one of those with "|", and every other one; "!" negates.
func (g guard) holds() bool {
	triggers, triggered := false, false
	for _, condition := range g.conditions {
		path, trigger := strings.CutPrefix(condition, "|")
		path, not := strings.CutPrefix(path, "!")
		_, err := os.Stat(path)
		holds := (err == nil) != not
		if !trigger && !holds {
			return false
		}
		triggers, triggered = triggers || trigger, triggered || trigger && holds
	}
	return !triggers || triggered
}

func parseGuard(name, text string) (guard, error) {
	g := guard{name: name}
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if err := g.set(section+strings.TrimSpace(key), strings.TrimSpace(value)); err != nil {
			return g, fmt.Errorf("%s: %w", key, err)
		}
	}
	return g, nil
}

// set applies one line; an empty value resets the previous ones.
func (g *guard) set(key, value string) (err error) {
	switch key {
	case "[Unit]Before":
		g.before = append(g.before, strings.Fields(value)...)
	case "[Unit]ConditionPathExists":
		if value == "" {
			g.conditions = nil
			break
		}
		value, err = specifiers(value)
		g.conditions = append(g.conditions, value)
	case "[Service]ExecStart":
		g.argv, err = commandLine(value)
	}
	return err
}

// specifiers expands %% (systemd.unit(5), "Specifiers"), the only one that the
// lab supports.
func specifiers(text string) (string, error) {
	rest := strings.ReplaceAll(text, "%%", "")
	if strings.Contains(rest, "%") {
		return "", fmt.Errorf("the lab knows no specifier but %%%%: %s", text)
	}
	return strings.ReplaceAll(text, "%%", "%"), nil
}

// commandLine splits a command line as systemd does (systemd.service(5),
// "Command lines"; systemd.syntax(7), "Quoting"): white space outside quotes
// separates the words, and backslashes escape inside quotes too. Variables are not
// expanded: a dollar sign is an error.
func commandLine(text string) ([]string, error) {
	if strings.Contains(text, "$") {
		return nil, fmt.Errorf("the lab expands no variables: %s", text)
	}
	var words []string
	for {
		text = strings.TrimLeft(text, " \t")
		if text == "" {
			break
		}
		word, rest, err := firstWord(text)
		if err == nil {
			word, err = specifiers(word)
		}
		if err != nil {
			return nil, err
		}
		words, text = append(words, word), rest
	}
	if len(words) > 0 && !strings.HasPrefix(words[0], "/") {
		return nil, fmt.Errorf("%s is no absolute path", words[0])
	}
	return words, nil
}

func firstWord(text string) (word, rest string, err error) {
	var b strings.Builder
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			if i++; i == len(text) {
				return "", "", fmt.Errorf("it ends in a backslash")
			}
			b.WriteString(unescaped(text[i]))
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote == 0 && (c == ' ' || c == '\t'):
			return b.String(), text[i:], nil
		default:
			b.WriteByte(c)
		}
	}
	if quote != 0 {
		return "", "", fmt.Errorf("the quotes do not fit: %s", text)
	}
	return b.String(), "", nil
}

// unescaped returns the text for a backslash and c; systemd keeps both for an
// unknown escape. Escapes with the number of a byte are not supported.
func unescaped(c byte) string {
	switch c {
	case '\\', '"', '\'':
		return string(c)
	case 's':
		return " "
	case 'n':
		return "\n"
	case 't':
		return "\t"
	}
	return `\` + string(c)
}
