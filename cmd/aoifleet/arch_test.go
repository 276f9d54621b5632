package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const internalPath = "github.com/aoifleet/aoifleet/internal/"

// belowAll are the packages that every other may import.
var belowAll = []string{"problem", "localfile", "display", "sleep"}

// allowed are the internal packages that each may import, besides those below all. A
// package that is not here has yet to find its place.
var allowed = map[string][]string{
	"sleep":         {},
	"display":       {},
	"localfile":     {},
	"problem":       {},
	"azurecloud":    {},
	"jump":          {},
	"ci":            {},
	"inventory":     {"azurecloud", "jump", "secretsource"},
	"azure":         {"azurecloud"},
	"certificate":   {},
	"remote":        {},
	"sshconfig":     {"jump"},
	"secret":        {"secretsource"},
	"diags":         {},
	"host":          {"certificate", "inventory", "remote"},
	"planfile":      {},
	"configuration": {},
	"notify":        {"azure", "azurecloud"},
	"rollout":       {"certificate", "configuration", "diags", "host", "inventory", "planfile", "remote"},
	"journal":       {},
	"control":       {},
	"engine":        {"host", "journal", "rollout"},
	"doctor":        {"host", "inventory", "remote"},
	"newinventory":  {"inventory", "jump"},
	"newcert":       {"azurecloud", "certificate", "inventory", "problem"},
	"certsource":    {"azure", "azurecloud", "certificate", "inventory", "rollout", "secret"},
	"verify":        {"azure", "azurecloud", "certificate", "host", "inventory", "remote", "rollout"},
	"fleet":         {"azurecloud", "certificate", "certsource", "configuration", "control", "diags", "doctor", "engine", "host", "inventory", "journal", "notify", "planfile", "remote", "rollout", "secret", "secretsource", "sshconfig", "verify"},
	"progress":      {"inventory", "report", "rollout"},
	"renew":         {"azure", "azurecloud", "certificate", "certsource", "fleet", "host", "inventory", "newcert", "rollout", "verify"},
	"report":        {"azure", "certificate", "certsource", "configuration", "doctor", "engine", "fleet", "host", "inventory", "journal", "newcert", "planfile", "remote", "renew", "rollout", "verify"},
	"secretsource":  {},

	"lab":       {"lab/agent"},
	"lab/agent": {},
	"lab/cloud": {},
}

// engineAllowed is allowed for the packages of the engine, among themselves.
var engineAllowed = map[string][]string{
	"codec":     {},
	"connect":   {"codec"},
	"devlab":    {"codec"},
	"devserver": {},
	"protocol":  {},
	"flow":      {"codec", "protocol"},
	"flowtest":  {"protocol"},
	"site":      {"codec", "protocol"},
	"client":    {"codec", "connect", "protocol"},
}

// importsOf returns the imports of the packages below a folder of the module, by package.
func importsOf(t *testing.T, folder string) map[string][]string {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = "../../" + folder
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string][]string{}
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return imports
		} else if err != nil {
			t.Fatal(err)
		}
		imports[p.ImportPath] = p.Imports
	}
}

// Imports run downward only (docs/architecture.md).
func TestImportsRunDownward(t *testing.T) {
	packages := importsOf(t, "internal")
	for path, imports := range packages {
		name := strings.TrimPrefix(path, internalPath)
		may, known := allowed[name]
		if !known {
			t.Errorf("package %s has no place in the plan", name)
		}
		for _, path := range imports {
			imported, internal := strings.CutPrefix(path, internalPath)
			below := slices.Contains(belowAll, imported) && !slices.Contains(belowAll, name)
			if internal && !below && !slices.Contains(may, imported) {
				t.Errorf("%s must not import %s", name, imported)
			}
		}
	}
	if len(packages) < len(allowed) {
		t.Errorf("only %d packages were checked", len(packages))
	}
}

// The packages of the engine run downward too, and nothing of Temporal gets into the program.
func TestEngineImportsRunDownward(t *testing.T) {
	const module = "github.com/aoifleet/aoifleet/engine/internal/"
	for path, imports := range importsOf(t, "engine/internal") {
		name := strings.TrimPrefix(path, module)
		if _, known := engineAllowed[name]; !known {
			t.Errorf("engine: package %s has no place in the plan", name)
		}
		for _, path := range imports {
			if imported, own := strings.CutPrefix(path, module); own && !slices.Contains(engineAllowed[name], imported) {
				t.Errorf("engine: %s must not import %s", name, imported)
			}
		}
	}
	requirements, err := os.ReadFile("../../go.mod")
	if err != nil || strings.Contains(string(requirements), "go.temporal.io") {
		t.Errorf("go.mod requires Temporal, %v", err)
	}
}

// Commands hold no procedures: none goes to a host or asks Azure by itself.
func TestCommandsHoldNoProcedures(t *testing.T) {
	packages := importsOf(t, "cmd")
	for path, imports := range packages {
		for _, name := range []string{"remote", "azure", "host"} {
			if slices.Contains(imports, internalPath+name) {
				t.Errorf("%s must not import %s: its procedures belong to fleet or verify", path, name)
			}
		}
	}
	if len(packages) == 0 {
		t.Error("no command was checked")
	}
}

// What belongs to the process is touched by cmd only.
func TestNothingBelowCmdTouchesTheProcess(t *testing.T) {
	forbidden := []string{"os.Exit", "os.Stdin", "os.Stdout", "os.Stderr", "os.Getenv", "os.LookupEnv", "os.Environ", "os.Args",
		"log.Print", "log.Printf", "log.Println", "log.Fatal", "log.Fatalf", "slog.Default", "fmt.Print", "fmt.Printf", "fmt.Println"}
	files := 0
	check := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		for _, name := range standardNames(file) {
			if slices.Contains(forbidden, name) {
				t.Errorf("%s uses %s", path, name)
			}
		}
		return nil
	}
	for _, folder := range []string{"../../internal", "../../engine/internal"} {
		if err := filepath.WalkDir(folder, check); err != nil {
			t.Fatal(err)
		}
	}
	if files < 20 {
		t.Fatalf("%d files", files)
	}
}

// standardNames are the names PACKAGE.NAME that a file uses of packages of the
// standard library with a path of one or two parts.
func standardNames(file *ast.File) []string {
	packages := map[string]string{} // as it is called in the file: its own name
	for _, spec := range file.Imports {
		path, _ := strconv.Unquote(spec.Path.Value)
		name := path[strings.LastIndexByte(path, '/')+1:]
		called := name
		if spec.Name != nil {
			called = spec.Name.Name
		}
		packages[called] = name
	}
	var names []string
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && packages[x.Name] != "" {
				names = append(names, packages[x.Name]+"."+s.Sel.Name)
			}
		}
		return true
	})
	return names
}
