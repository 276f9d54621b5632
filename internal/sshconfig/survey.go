package sshconfig

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/localfile"
)

const (
	maxFile  = 1 << 20 // bytes of one file
	maxFiles = 256     // including those of Include
	maxDepth = 16      // of Include, as in ssh
)

// programDataMark is what ssh on Windows was built with instead of %ProgramData%, and
// `ssh -G` prints.
const programDataMark = "__PROGRAMDATA__"

// systemFolder returns the folder of the files for all users, except in unusual builds of
// ssh. goos is that of package runtime.
func systemFolder(goos string, getenv func(string) string) string {
	if goos != "windows" {
		return "/etc/ssh"
	}
	return cmp.Or(getenv("ProgramData"), `C:\ProgramData`) + `\ssh`
}

// systemFile returns the configuration for all users. Windows accepts the slash.
func (o Options) systemFile() string { return o.systemFolder + "/ssh_config" }

// line is one line of a configuration with a keyword.
type line struct {
	file    string
	number  int
	keyword string // lower case
	value   string
}

func (l line) at() string { return fmt.Sprintf("%s line %d", display.Mask(l.file), l.number) }

// survey has the lines of the files that apply to a query. This package finds the lines;
// only ssh can evaluate them.
type survey struct {
	lines []line
	// doubt is why the lines may be incomplete or mean something else; nil: no doubt.
	doubt error
	// patterns distinguish hosts. alike means that nothing else does. See share.go.
	patterns []string
	alike    bool
}

// survey reads the files of a query, once.
func (r *Resolver) survey(file string) *survey {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.files[file]; known != nil {
		return known
	}
	s := &survey{}
	r.files[file] = s
	reader := &fileReader{survey: s, home: r.options.Home}
	switch {
	case file != "":
		reader.read(file, r.userFolder(), 0)
	default:
		if r.options.Home != "" {
			reader.read(filepath.Join(r.userFolder(), "config"), r.userFolder(), 0)
		}
		reader.read(r.options.systemFile(), r.options.systemFolder, 0)
	}
	s.analyse()
	return s
}

func (r *Resolver) userFolder() string { return filepath.Join(r.options.Home, ".ssh") }

// fileReader reads files and follows Include.
type fileReader struct {
	survey *survey
	home   string
	files  int
}

// addDoubt records the first doubt.
func (f *fileReader) addDoubt(err error) {
	if f.survey.doubt == nil {
		f.survey.doubt = err
	}
}

// read adds the lines of a file. Relative paths of Include are relative to relative. A
// missing file has no lines.
func (f *fileReader) read(path, relative string, depth int) {
	if f.files++; f.files > maxFiles || depth > maxDepth {
		f.addDoubt(errors.New("too many files are included"))
		return
	}
	text, err := localfile.ReadRegular(path, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.addDoubt(err)
		return
	}
	for i, raw := range strings.Split(string(text), "\n") {
		l, ok := parseLine(raw)
		if !ok {
			continue
		}
		l.file, l.number = path, i+1
		f.survey.lines = append(f.survey.lines, l)
		if !plainKeyword(l.keyword) {
			f.addDoubt(fmt.Errorf("%s can't be read", l.at()))
		}
		if l.keyword == "include" {
			f.include(l, relative, depth)
		}
	}
}

func (f *fileReader) include(l line, relative string, depth int) {
	if strings.ContainsAny(l.value, `"'\%$#`) {
		f.addDoubt(fmt.Errorf("%s: not a plain list of paths", l.at()))
		return
	}
	for _, path := range strings.Fields(l.value) {
		switch {
		case strings.HasPrefix(path, "~/"):
			path = filepath.Join(f.home, path[2:])
		case path[0] == '~':
			f.addDoubt(fmt.Errorf("%s: the home directory of another user is not supported", l.at()))
		case !filepath.IsAbs(path):
			path = filepath.Join(relative, path)
		}
		matches, err := filepath.Glob(path)
		if err != nil {
			f.addDoubt(fmt.Errorf("%s: %w", l.at(), err))
		}
		for _, match := range matches {
			f.read(match, relative, depth+1)
		}
	}
}

// parseLine splits a line into its keyword and value, which are separated by spaces or by
// one = with optional spaces. It returns false for an empty line or a comment.
func parseLine(raw string) (line, bool) {
	raw = strings.Trim(raw, " \t\r\f\v")
	if raw == "" || raw[0] == '#' {
		return line{}, false
	}
	end := strings.IndexAny(raw, " \t=")
	if end < 0 {
		end = len(raw)
	}
	value := strings.TrimLeft(raw[end:], " \t")
	value = strings.TrimLeft(strings.TrimPrefix(value, "="), " \t")
	return line{keyword: strings.ToLower(raw[:end]), value: value}, true
}

func plainKeyword(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}
