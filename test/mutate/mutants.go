package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one changed operator. Its text is what equivalent.txt names: file, function,
// expression, changed expression, and which of those that are the same.
type mutant struct {
	n      int // its number in the test program, from 1
	text   string
	line   int
	status string
}

// The operators that take another's place: one list for the opposite, one for the boundary.
var (
	swapped = map[token.Token]token.Token{
		token.EQL: token.NEQ, token.NEQ: token.EQL,
		token.LSS: token.GEQ, token.GEQ: token.LSS, token.GTR: token.LEQ, token.LEQ: token.GTR,
		token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
		token.INC: token.DEC, token.DEC: token.INC,
	}
	boundary = map[token.Token]token.Token{
		token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR,
	}
	functions = map[token.Token]string{
		token.LSS: "LSS", token.LEQ: "LEQ", token.GTR: "GTR", token.GEQ: "GEQ",
		token.ADD: "ADD", token.SUB: "SUB", token.MUL: "MUL", token.QUO: "QUO", token.REM: "REM",
	}
)

// edit replaces source[from:to].
type edit struct {
	from, to int
	text     string
}

// rewriter puts the mutants of one file into its source.
type rewriter struct {
	name   string // the file's, relative to the module
	source []byte
	file   *token.File
	pkg    *types.Package
	info   *types.Info

	function     string
	same         map[string]int // how many mutants have a text
	starts, ends []edit
	mutants      *[]*mutant
}

// rewrite returns the source with every mutant in it.
func (r *rewriter) rewrite(f *ast.File) string {
	for _, d := range f.Decls {
		r.function = "variables"
		if fn, ok := d.(*ast.FuncDecl); ok {
			r.function = fn.Name.Name
		}
		ast.Inspect(d, r.visit)
	}
	slices.Reverse(r.ends)               // what begins later ends first
	edits := append(r.ends, r.starts...) // an operand ends before the operator after it
	slices.SortStableFunc(edits, func(a, b edit) int { return cmp.Compare(a.from, b.from) })
	var b strings.Builder
	at := 0
	for _, e := range edits {
		b.Write(r.source[at:e.from])
		b.WriteString(e.text)
		at = e.to
	}
	b.Write(r.source[at:])
	return b.String()
}

func (r *rewriter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok != token.CONST // only constants may stand there
	case *ast.ArrayType:
		return false
	case *ast.BinaryExpr:
		r.binary(n)
	case *ast.UnaryExpr:
		if n.Op == token.SUB {
			r.wrap(n, n.OpPos, 1, "mutateNEG"+r.typeOf(n, n.X)+"(%d, ", "+"+r.between(n.X.Pos(), n.X.End()))
		}
	case *ast.IncDecStmt:
		r.step(n)
	}
	return true
}

// binary adds the mutants of a comparison or a calculation.
func (r *rewriter) binary(n *ast.BinaryExpr) {
	with := func(op token.Token) string {
		return r.between(n.Pos(), n.OpPos) + op.String() + r.between(n.OpPos+token.Pos(len(n.Op.String())), n.End())
	}
	other, ok := swapped[n.Op]
	if !ok {
		return
	}
	if !isNumber(r.info.TypeOf(n)) {
		if n.Op == token.ADD {
			return // of strings
		}
		r.wrap(n, token.NoPos, 0, "mutateNot(%d, ", with(other))
		if other, ok = boundary[n.Op]; !ok {
			return
		}
	}
	r.wrap(n, n.OpPos, len(n.Op.String()), "mutate"+functions[n.Op]+r.typeOf(n, n.X, n.Y)+"(%d, ", with(other))
}

// step adds the mutant of x++ or x--.
func (r *rewriter) step(n *ast.IncDecStmt) {
	x := r.between(n.X.Pos(), n.X.End())
	m := r.add(n.Pos(), x+n.Tok.String(), x+swapped[n.Tok].String())
	at, end := r.file.Offset(n.TokPos), r.file.Offset(n.End())
	sign := map[token.Token]string{token.INC: "+", token.DEC: "-"}[n.Tok]
	r.starts = append(r.starts, edit{at, end, fmt.Sprintf(" %s= mutateINC[%s](%d)", sign, r.typeName(r.info.TypeOf(n.X)), m.n)})
}

// wrap puts an expression into a call. An operator at op becomes the comma between its operands,
// or nothing if it has one.
func (r *rewriter) wrap(n ast.Expr, op token.Pos, width int, call, changed string) {
	m := r.add(n.Pos(), r.between(n.Pos(), n.End()), changed)
	at, end := r.file.Offset(n.Pos()), r.file.Offset(n.End())
	r.starts = append(r.starts, edit{at, at, fmt.Sprintf(call, m.n)})
	if op.IsValid() {
		comma := ","
		if op == n.Pos() {
			comma = ""
		}
		r.starts = append(r.starts, edit{r.file.Offset(op), r.file.Offset(op) + width, comma})
	}
	r.ends = append(r.ends, edit{end, end, ")"})
}

func (r *rewriter) add(at token.Pos, from, to string) *mutant {
	text := fmt.Sprintf("%s %s: %s -> %s", r.name, r.function, from, to)
	if r.same[text]++; r.same[text] > 1 {
		text += fmt.Sprintf(" (%d)", r.same[text])
	}
	m := &mutant{n: len(*r.mutants) + 1, line: r.file.Line(at), text: text}
	*r.mutants = append(*r.mutants, m)
	return m
}

// typeOf returns the type argument of a call that stands for n: none if an operand has a type
// of its own to infer it from.
func (r *rewriter) typeOf(n ast.Expr, operands ...ast.Expr) string {
	for _, x := range operands {
		if r.info.Types[x].Value == nil {
			return ""
		}
	}
	return "[" + r.typeName(r.info.TypeOf(n)) + "]"
}

func (r *rewriter) typeName(t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == r.pkg {
			return ""
		}
		return p.Name()
	})
}

// between returns the source in one line.
func (r *rewriter) between(from, to token.Pos) string {
	return strings.Join(strings.FieldsFunc(string(r.source[r.file.Offset(from):r.file.Offset(to)]),
		func(c rune) bool { return c == '\n' || c == '\t' }), " ")
}

func isNumber(t types.Type) bool {
	b, ok := t.Underlying().(*types.Basic)
	return ok && b.Info()&types.IsNumeric != 0
}
