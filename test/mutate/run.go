package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed hook.go.txt
var hook string

// What became of a mutant.
const (
	killed   = "killed"
	timedOut = "timed out" // counts as killed
	lived    = "lived"
	missed   = "not covered"
)

// run makes the test program of a target and tries each mutant in it.
func (t target) run(part string, verbose bool) (*result, error) {
	work, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	dir, file := t.path, ""
	if strings.HasSuffix(dir, ".go") {
		dir, file = filepath.Dir(dir), filepath.Base(dir)
	}
	mutants, err := build(dir, file, work)
	if err != nil {
		return nil, err
	}
	p := program{dir: dir, path: filepath.Join(work, "test"), args: t.args}
	reached, limit, err := p.reach(filepath.Join(work, "reached"))
	if err != nil {
		return nil, err
	}
	mutants = slices.DeleteFunc(mutants, func(m *mutant) bool { return !strings.Contains(m.text, part) })
	for _, m := range mutants {
		m.status = missed
		if reached[m.n] {
			m.status = p.try(m.n, limit)
		}
		if verbose || m.status == lived || m.status == missed {
			fmt.Printf("%-11s :%d %s\n", m.status, m.line, m.text)
		}
	}
	return &result{t.path, mutants}, nil
}

// build compiles the package's tests with all mutants of the files (or the one file) into
// the program work/test.
func build(dir, only, work string) ([]*mutant, error) {
	listed, err := goList(dir)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range listed.files {
		f, err := parser.ParseFile(fset, filepath.Join(listed.dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	pkg, err := (&types.Config{Importer: importer.ForCompiler(fset, "gc", listed.open)}).Check(dir, fset, files, info)
	if err != nil {
		return nil, err
	}
	var mutants []*mutant
	written := map[string]string{"mutate_hook.go": strings.Replace(hook, "PACKAGE", pkg.Name(), 1)}
	for i, f := range files {
		if only != "" && listed.files[i] != only {
			continue
		}
		source, err := os.ReadFile(filepath.Join(listed.dir, listed.files[i]))
		if err != nil {
			return nil, err
		}
		r := &rewriter{name: dir + "/" + listed.files[i], source: source, file: fset.File(f.Pos()), pkg: pkg, info: info, same: map[string]int{}, mutants: &mutants}
		written[listed.files[i]] = r.rewrite(f)
	}
	return mutants, compile(listed.dir, work, written)
}

// compile builds work/test with these files in the place of the package's.
func compile(dir, work string, files map[string]string) error {
	replace := map[string]string{}
	for name, text := range files {
		path := filepath.Join(work, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		replace[filepath.Join(dir, name)] = path
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "overlay.json"), overlay, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", "test", "-c", "-o", filepath.Join(work, "test"), "-overlay", filepath.Join(work, "overlay.json"), ".")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// listing is what go list says of a package.
type listing struct {
	dir     string
	files   []string
	exports map[string]string // by import path
}

func goList(dir string) (*listing, error) {
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Export,Dir,GoFiles", "./"+dir).Output()
	if err != nil {
		return nil, fmt.Errorf("go list ./%s: %w", dir, err)
	}
	l := &listing{exports: map[string]string{}}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Export, Dir string
			GoFiles                 []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return l, nil
		} else if err != nil {
			return nil, err
		}
		l.exports[p.ImportPath], l.dir, l.files = p.Export, p.Dir, p.GoFiles // the last is the package itself
	}
}

func (l *listing) open(path string) (io.ReadCloser, error) { return os.Open(l.exports[path]) }

// program is the test program of a package.
type program struct {
	dir, path string
	args      []string
}

// reach runs the tests unchanged and returns the mutants that they reach, and how long a
// mutant may take.
func (p program) reach(record string) (map[int]bool, time.Duration, error) {
	if err := os.WriteFile(record, nil, 0o600); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	if out, err := p.command(context.Background(), "MUTANTS_REACHED="+record).CombinedOutput(); err != nil {
		return nil, 0, fmt.Errorf("the tests of %s fail without a change: %w\n%s", p.dir, err, out)
	}
	limit := 5*time.Since(began) + 5*time.Second
	text, err := os.ReadFile(record)
	reached := map[int]bool{}
	for _, line := range strings.Fields(string(text)) {
		n, _ := strconv.Atoi(line)
		reached[n] = true
	}
	return reached, limit, err
}

// try runs the tests with one mutant.
func (p program) try(n int, limit time.Duration) string {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := p.command(ctx, "MUTANT="+strconv.Itoa(n)).Run()
	switch {
	case ctx.Err() != nil:
		return timedOut
	case err != nil:
		return killed
	}
	return lived
}

// command returns the run of the tests. A mutant may be a loop without end: its memory is
// limited.
func (p program) command(ctx context.Context, env string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", `ulimit -v 8000000; exec "$0" "$@"`, p.path, "-test.failfast"}, p.args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), env)
	return cmd
}
