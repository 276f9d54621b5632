package configuration

import (
	"bytes"
	"container/list"
	"io"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/aymanbagabas/go-udiff"
	"github.com/mikefarah/yq/v4/pkg/yqlib"

	"github.com/aoifleet/aoifleet/internal/display"
	"github.com/aoifleet/aoifleet/internal/problem"
)

// maxExpressions is the length of the longest edit, in bytes.
const maxExpressions = 8192

// yq serialises all use of yqlib: its parser, its preferences and its logger are global.
var yq sync.Mutex

// prepare makes yqlib quiet and takes its ways out of the process; ParseEdit refuses them also.
var prepare = sync.OnceFunc(func() {
	yqlib.GetLogger().SetSlogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	yqlib.ConfiguredSecurityPreferences = yqlib.SecurityPreferences{DisableEnvOps: true, DisableFileOps: true}
	yqlib.InitExpressionParser()
})

// refused are the operators of yq that an edit must not use, by how their type begins, with the
// reason. EVAL makes code of data, and can call itself until the stack is full, which ends the
// process. What is inside "\(…)" is parsed only when it runs.
var refused = map[string]string{
	"ENV": outside, "LOAD": outside, "SYSTEM": outside, "GET_FILE": outside,
	"EVAL": "runs text of the file as an expression",
	"NOW":  unstable, "SHUFFLE": unstable,
	"ENCODE": formats, "DECODE": formats,
	"SPLIT_DOC": "makes several documents", "GET_DOCUMENT_INDEX": "is for several documents",
}

const (
	outside  = "reads what is outside the file"
	unstable = "gives another result each time"
	formats  = "is for other formats, which are left out"
)

// compactSequence matches a list that is not indented below its key.
var compactSequence = regexp.MustCompile(`(?m)^[^\s#-][^\n]*:[ \t]*(#[^\n]*)?\n- `)

// Edit is a change to a configuration: expressions of yq's language, applied in order. It is
// safe for concurrent use.
type Edit struct{ expression string }

// String returns the expression.
func (e *Edit) String() string { return e.expression }

// ParseEdit returns the edit of some expressions, joined by yq's pipe. The error is a
// *problem.Error of class usage.
func ParseEdit(expressions ...string) (edit *Edit, err error) {
	prepare()
	yq.Lock()
	defer yq.Unlock()
	defer func() {
		if recover() != nil {
			edit, err = nil, unusable("it can't be parsed")
		}
	}()
	size := 0
	for _, expression := range expressions {
		if size += len(expression); size > maxExpressions {
			return nil, unusable("it has more than 8192 bytes")
		}
		if strings.ContainsFunc(expression, func(c rune) bool { return !unicode.IsPrint(c) }) { // a saved plan and a "next:" line have it as one line
			return nil, unusable("it has a line end or another control character; write it on one line, or repeat --edit")
		}
		tree, err := yqlib.ExpressionParser.ParseExpression(expression)
		if err != nil {
			return nil, unusable(display.Sanitise(err.Error(), 200))
		}
		if tree == nil {
			return nil, unusable("it is empty")
		}
		if why := forbidden(tree); why != "" {
			return nil, unusable(why)
		}
	}
	if len(expressions) == 0 {
		return nil, unusable("it is empty")
	}
	return &Edit{"(" + strings.Join(expressions, ") | (") + ")"}, nil
}

func unusable(why string) error {
	return problem.New(problem.Usage, `an edit is an expression of yq, as '.pipelines[0].sink.block_size = "64MiB"'`, "the edit can't be used: %s", why)
}

// forbidden returns why an expression must not run, or "".
func forbidden(node *yqlib.ExpressionNode) string {
	if node == nil {
		return ""
	}
	if operation := node.Operation; operation != nil && operation.OperationType != nil {
		name := operation.OperationType.Type
		for prefix, why := range refused {
			if strings.HasPrefix(name, prefix) {
				return "the operator " + strings.ToLower(name) + " " + why
			}
		}
		if name == "STRING_INT" && strings.Contains(operation.StringValue, `\(`) {
			return `text has no "\(…)" here: join texts with +, and write [(] in a pattern`
		}
	}
	for _, child := range []*yqlib.ExpressionNode{node.LHS, node.RHS} {
		if why := forbidden(child); why != "" {
			return why
		}
	}
	return ""
}

// Apply returns data, edited. Comments, the order and, where it can, the layout are kept. The
// error is a *problem.Error of class configuration. What a host sent is bounded: its bytes, its
// nodes, and what its aliases stand for. The expression is the operator's own: one that doubles a
// text a hundred times takes all memory, as it would in yq.
func (e *Edit) Apply(data []byte) (out []byte, err error) {
	if _, found := load(data); len(found) > 0 {
		return nil, problem.New(problem.Configuration, found[0].Hint, "edit: line %d: %s", found[0].Line, found[0].Message)
	}
	prepare()
	yq.Lock()
	defer yq.Unlock()
	defer contain(&err, "edit")
	edited, err := evaluate(e.expression, data)
	if err != nil {
		return nil, err
	}
	if len(edited) > MaxSize {
		return nil, problem.New(problem.Configuration, "", "edit: the result has more than %d bytes", MaxSize)
	}
	return keepLayout(data, edited)
}

// keepLayout returns data with what an edit changes, where edited is data as yq writes it: with
// its own indentation, and without blank lines. It merges two changes of what yq writes without
// the edit: the file's layout, and the edit. Where they conflict the layout is lost; where yq
// would read another result, it returns edited.
func keepLayout(data, edited []byte) ([]byte, error) {
	plain, err := evaluate(".", data)
	if err != nil {
		return nil, err
	}
	for _, conflicts := range []bool{false, true} {
		for _, diff := range []func(before, after string) []udiff.Edit{udiff.Lines, udiff.Strings} {
			layout, change := diff(string(plain), string(data)), diff(string(plain), string(edited))
			if conflicts {
				layout = slices.DeleteFunc(layout, func(e udiff.Edit) bool { return touches(e, change) })
			}
			if merged, ok := merge(plain, layout, change); ok {
				if again, err := evaluate(".", merged); err == nil && bytes.Equal(again, edited) {
					return merged, nil
				}
			}
		}
	}
	return edited, nil
}

func touches(e udiff.Edit, edits []udiff.Edit) bool {
	return slices.ContainsFunc(edits, func(other udiff.Edit) bool { return e.Start <= other.End && other.Start <= e.End })
}

func merge(plain []byte, layout, change []udiff.Edit) ([]byte, bool) {
	edits, ok := udiff.Merge(layout, change)
	if !ok {
		return nil, false
	}
	merged, err := udiff.ApplyBytes(plain, edits)
	return merged, err == nil
}

// evaluate returns the document that an expression makes of data.
func evaluate(expression string, data []byte) ([]byte, error) {
	preferences := yqlib.NewDefaultYamlPreferences()
	preferences.CompactSequenceIndent = compactSequence.Match(data)
	documents, err := yqlib.ReadDocuments(bytes.NewReader(data), yqlib.NewYamlDecoder(preferences))
	if err != nil {
		return nil, failed(err)
	}
	results, err := yqlib.NewAllAtOnceEvaluator().EvaluateCandidateNodes(expression, documents)
	if err != nil {
		return nil, failed(err)
	}
	if !isDocument(results) {
		return nil, problem.New(problem.Configuration, `change the file with "=", "|=", "+=" or del()`, "the edit yields something other than the whole configuration")
	}
	var out bytes.Buffer
	if err := yqlib.NewPrinter(yqlib.NewYamlEncoder(preferences), yqlib.NewSinglePrinterWriter(&out)).PrintResults(results); err != nil {
		return nil, failed(err)
	}
	return out.Bytes(), nil
}

// isDocument tells whether results are one whole document with keys.
func isDocument(results *list.List) bool {
	if results.Len() != 1 {
		return false
	}
	node, ok := results.Front().Value.(*yqlib.CandidateNode)
	return ok && node.Kind == yqlib.MappingNode && node.Parent == nil
}

func failed(err error) error {
	return problem.New(problem.Configuration, "try the expression with yq on a copy of the file", "edit: %s", display.Sanitise(err.Error(), 200))
}
