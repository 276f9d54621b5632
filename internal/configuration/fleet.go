package configuration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/aoifleet/aoifleet/internal/display"
)

// Dangers returns what a change needs --force for: an SFTP pipeline that would upload everything
// again, a source that is removed, an MCC EDR listener that moves. An old file without a byte is
// one that does not exist.
func Dangers(old, new []byte) []Finding {
	to, _ := load(new)
	if len(old) == 0 || to == nil {
		return nil // nothing can be lost; Lint refuses the new one
	}
	from, _ := load(old)
	if from == nil {
		return []Finding{{Level: Danger, Message: "the present configuration can't be read: what the change would lose is not known", Hint: "compare the files yourself"}}
	}
	var found []Finding
	before, after := sources(from), sources(to)
	for _, s := range before {
		if found = append(found, s.changed(before, after)...); len(found) > maxFindings {
			break
		}
	}
	return ordered(found)
}

// changed returns the dangers of what becomes of a source.
func (s source) changed(before, after []source) []Finding {
	name := display.Quote(s.id, shown)
	i := slices.IndexFunc(after, func(n source) bool { return n.id == s.id && n.kind == s.kind })
	renamed := i < 0
	if renamed {
		i = slices.IndexFunc(after, func(n source) bool {
			return n.same(s) && !slices.ContainsFunc(before, func(b source) bool { return b.id == n.id && b.kind == n.kind })
		})
	}
	switch {
	case i < 0:
		return []Finding{danger(empty, "keep the pipeline, or be sure that its data are no longer needed", "the source of pipeline %s is removed", name)}
	case renamed && s.kind == "sftp_pull" && after[i].sftp["exclude_before_time"] == "":
		return []Finding{danger(after[i].node, "set filtering.exclude_before_time to the time of the last upload", "pipeline %s becomes %s: the agent uploads all its files again", name, display.Quote(after[i].id, shown))}
	case s.port != after[i].port:
		return []Finding{danger(after[i].node, "change the MCCs and the firewall at the same time", "the port of the MCC EDR source %s changes from %s to %s", name, display.Sanitise(s.port, 10), display.Sanitise(after[i].port, 10))}
	}
	return nil
}

func danger(n *yaml.Node, hint, format string, args ...any) Finding {
	return Finding{Line: n.Line, Column: n.Column, Level: Danger, Key: "pipelines", Message: fmt.Sprintf(format, args...), Hint: hint}
}

// Fleet returns what is wrong between the configurations of a fleet: an agent_id that several
// have, and SFTP sources that read the same files. Files that can't be read are left to Lint.
func Fleet(files []Named) []Finding {
	byID := map[string][]string{}
	byServer := map[string][]placed{}
	lines := map[string]*yaml.Node{}
	for _, file := range files {
		root, _ := load(file.Data)
		if root == nil {
			continue
		}
		if id := child(root, "agent_id"); id.Value != "" {
			byID[id.Value] = append(byID[id.Value], file.Name)
			lines[file.Name] = id
		}
		for _, s := range sources(root) {
			if s.kind == "sftp_pull" && s.sftp["host"] != "" {
				server := strings.ToLower(s.sftp["host"]) + "\x00" + cmp.Or(s.sftp["port"], "22") + "\x00" + s.sftp["user"]
				byServer[server] = append(byServer[server], placed{file.Name, s})
			}
		}
	}
	found := overlaps(byServer)
	for id, names := range byID {
		if len(names) > 1 {
			at := lines[names[0]]
			found = append(found, Finding{File: names[0], Line: at.Line, Column: at.Column, Level: Error, Key: "agent_id", Others: names[1:],
				Message: fmt.Sprintf("%d agents have the agent_id %s", len(names), display.Quote(id, shown)), Hint: "give each its own: it is part of the path of its uploads"})
		}
	}
	slices.SortFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return found[:min(len(found), maxFindings)]
}

// placed is a source of a file.
type placed struct {
	file string
	source
}

// overlaps finds the sources below the folder of another. Sorted by folder, those below one
// follow it.
func overlaps(byServer map[string][]placed) []Finding {
	var found []Finding
	for _, all := range byServer {
		slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.folder(), b.folder()) })
		for i := 0; i < len(all); {
			below := i + 1
			for below < len(all) && strings.HasPrefix(all[below].folder(), all[i].folder()) {
				below++
			}
			if below > i+1 {
				found = append(found, overlap(all[i:below]))
			}
			i = below
		}
	}
	return found
}

// overlap is the finding for sources that read the folder of the first. Ones that have different
// patterns may share it on purpose.
func overlap(all []placed) Finding {
	patterns := map[string]bool{}
	f := Finding{File: all[0].file, Line: all[0].node.Line, Column: all[0].node.Column, Level: Note, Key: "pipelines",
		Hint: "let each read its own folder, or give them patterns that exclude each other"}
	for i, s := range all {
		pattern := s.sftp["include_pattern"] + "\x00" + s.sftp["exclude_pattern"]
		if patterns[pattern] || pattern == "\x00" {
			f.Level = Danger
		}
		patterns[pattern] = true
		if i > 0 && s.file != all[0].file && !slices.Contains(f.Others, s.file) {
			f.Others = append(f.Others, s.file)
		}
	}
	f.Message = fmt.Sprintf("%d sources read below %s of %s: files are uploaded twice", len(all), display.Quote(all[0].folder(), shown), display.Quote(all[0].sftp["host"], shown))
	return f
}
