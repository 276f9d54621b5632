package main

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aoifleet/aoifleet/internal/ci"
	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/report"
)

const reportHint = "use --report FILE with the ending .html, .md, .xml (JUnit) or .json"

// reportFlag adds --report to a command.
func (call *invocation) reportFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&call.reports, "report", nil, "also write the result to `FILE`, by its ending: .html, .md, .xml (JUnit) or .json; may be repeated")
}

// reportFormat returns the format of a report's file, by its ending.
func reportFormat(path string) string {
	return strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
}

// checkReports returns an error if a report can't be written, before anything is contacted.
func (call *invocation) checkReports(cmd *cobra.Command, args []string) error {
	for i, path := range call.reports {
		if !slices.Contains(report.Formats, reportFormat(path)) {
			return usage("--report "+path+": the ending is no format of a report", reportHint)
		}
		if slices.ContainsFunc(call.reports[:i], func(other string) bool { return realPath(other) == realPath(path) }) {
			return usage("--report "+path+" is given twice", "name another file")
		}
		if other := call.sameFileAs(cmd, args, path); other != "" {
			return usage("--report "+path+" is also the file of "+other, "name another file: a report replaces what is there")
		}
		if err := localfile.CanWrite(path); err != nil {
			return usage("cannot write the report "+path+": "+localfile.Named(err), "name a file in a folder that exists and is writable")
		}
	}
	call.reportsChecked = true
	return nil
}

// realPath returns a path with its folder's links resolved.
func realPath(path string) string {
	absolute, _ := filepath.Abs(path)
	if folder, err := filepath.EvalSymlinks(filepath.Dir(absolute)); err == nil {
		return filepath.Join(folder, filepath.Base(absolute))
	}
	return absolute
}

// sameFileAs returns what else names the file at path: a flag, an argument or a variable; "" if
// nothing does.
func (call *invocation) sameFileAs(cmd *cobra.Command, args []string, path string) (name string) {
	real := realPath(path)
	is := func(other string) bool {
		if target, err := filepath.EvalSymlinks(other); err == nil && realPath(target) == real {
			return true
		}
		return other != "" && realPath(other) == real
	}
	if is(call.getenv("AOIFLEET_INVENTORY")) {
		name = "AOIFLEET_INVENTORY"
	}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && is(f.Value.String()) {
			name = "--" + f.Name
		}
	})
	if slices.ContainsFunc(args, is) {
		name = "the command"
	}
	return name
}

// writeReports writes the result of the command into the files of --report, before the text:
// its reader may not read on. A failed write is an error, but the command's own exit code
// comes first.
func (call *invocation) writeReports(r func() *report.Report) {
	if call.pipeline != ci.None {
		made := r()
		call.results, r = append(call.results, made), func() *report.Report { return made }
	}
	if len(call.reports) == 0 || !call.reportsChecked {
		return
	}
	made := r()
	for _, path := range call.reports {
		var b bytes.Buffer
		err := made.Write(&b, reportFormat(path))
		if err == nil {
			err = localfile.Write(path, b.Bytes(), 0o600)
		}
		if err != nil {
			var link *os.LinkError
			if errors.As(err, &link) {
				err = link.Err
			}
			call.printError("cannot write the report "+path+": "+localfile.Reason(err), "")
			call.code = cmp.Or(call.code, problem.ExitInternal)
		}
	}
	call.reports = nil // it is written once
}

// report writes the reports of a document.
func (call *invocation) report(document func() *report.Document) {
	call.writeReports(func() *report.Report { return report.Of(document()) })
}
