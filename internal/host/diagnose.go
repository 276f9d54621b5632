package host

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/problem"
	"github.com/aoifleet/aoifleet/internal/remote"
)

const (
	// BeforeUndo is the limit on the agent's diagnostics tool before a rollback; the copy
	// of a large zip may delay the rollback by another minute.
	BeforeUndo = 45 * time.Second
	// MaxDiagnostics is the default limit on a zip, in bytes.
	MaxDiagnostics = 512 << 20
	// zipTimeout limits the download of one zip, and the time that it waits on the host
	// for the operator. It is below the hour after which a recovery removes the zip.
	zipTimeout = 30 * time.Minute
	zipName    = "diagnostics.zip"
	// sftpTimeout limits the start of the SFTP session, which was requested before the
	// tool ran.
	sftpTimeout = 10 * time.Second
)

// Diagnosis describes the requested diagnostics.
type Diagnosis struct {
	// Within limits the agent's tool, in whole seconds; 0: don't run it, use the zip that
	// a rotation of this run has gathered.
	Within  time.Duration
	MaxSize int64 // of the zip, in bytes; 0: MaxDiagnostics
	// AsRoot runs the tool as root, not as the unit's user. Then the agent's user can make
	// it read, or overwrite, any file of the host.
	AsRoot bool
	To     io.Writer // receives the zip; nil: it stays on the host, for a later Diagnose of this run
	// Progress is called as bytes arrive; may be nil.
	Progress func(done, total int64)
}

// Diagnostics is a zip that was downloaded completely, or stays on the host.
type Diagnostics struct {
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

// Diagnose runs the agent's diagnostics tool and downloads its zip: over SFTP, or from the
// command's output if the host has no SFTP. It leaves nothing on the host unless To is
// nil. If it returns an error, what To received is incomplete or invalid. The result is
// nil without an error if there is no zip of an earlier rotation.
func (v *VM) Diagnose(ctx context.Context, d Diagnosis) (*Diagnostics, error) {
	if d.MaxSize == 0 {
		d.MaxSize = MaxDiagnostics
	}
	ctx, cancel := v.within(ctx, d.Within+zipTimeout+2*time.Minute+v.sudoTime())
	defer cancel()
	v.conn.Prefetch()
	in, err := v.framed("diagnose", v.diagnosisValues(d))
	if err != nil {
		return nil, err
	}
	process, err := v.start(ctx)
	if err != nil {
		return nil, err
	}
	defer process.Close()
	// A command that has ended has printed why.
	_, _ = send(process.Stdin(), append(v.needed(&shell{}, "diagnose", nil), in))
	c := &collection{ctx: ctx, vm: v, process: process, out: bufio.NewReaderSize(process.Stdout(), 64<<10), Diagnosis: d}
	return c.collect(ctx)
}

func (v *VM) diagnosisValues(d Diagnosis) []value {
	values := append(v.common(), value{"diagnostics", wholeSeconds(d.Within)}, value{"size", strconv.FormatInt(d.MaxSize, 10)},
		value{"source", ".aoifleet-diags-" + v.run.ID}, value{"hold", wholeSeconds(zipTimeout)})
	if d.AsRoot { // a helper of an earlier version does not know the key
		values = append(values, value{"as_root", "yes"})
	}
	return values
}

// collection is the conversation with host.sh during a diagnosis.
type collection struct {
	Diagnosis
	ctx     context.Context // of the whole
	vm      *VM
	process *remote.Process
	out     *bufio.Reader
	zip     Diagnostics // as the host announces it
}

func (c *collection) collect(ctx context.Context) (*Diagnostics, error) {
	found, err := c.hear("zip", "none")
	if err != nil || found != "zip" {
		return nil, err
	}
	to := &arrival{To: c.To, digest: sha256.New(), total: c.zip.Size, progress: c.Progress}
	switch {
	case c.To == nil:
		_, err = c.answer("keep", "kept")
		return &c.zip, err
	case !c.hasSFTP(ctx): // a lost connection shows in the next step
		err = c.send(to)
	default:
		err = c.hand(ctx, to)
	}
	if err = to.verdict(err, c.zip.SHA256); err != nil {
		return nil, err
	}
	return &c.zip, nil
}

// hasSFTP reports whether an SFTP session opens within sftpTimeout.
func (c *collection) hasSFTP(ctx context.Context) bool {
	ctx, cancel := c.vm.within(ctx, sftpTimeout)
	defer cancel()
	return c.vm.conn.OpenSFTP(ctx) == nil
}

// hand downloads the zip over SFTP, from a folder of the login user.
func (c *collection) hand(ctx context.Context, to *arrival) error {
	if _, err := c.answer("hand", "handed"); err != nil {
		return err
	}
	if err := c.vm.conn.Get(ctx, ".aoifleet-diags-"+c.vm.run.ID, zipName, c.zip.Size, to); err != nil {
		return err
	}
	// The zip has arrived. The host removes its copy, even without this answer.
	_, _ = c.answer("done", "gathered")
	return nil
}

// send downloads the zip from the command's output.
func (c *collection) send(to *arrival) error {
	if _, err := io.WriteString(c.process.Stdin(), "send\n"); err != nil {
		return c.lost()
	}
	if _, err := io.CopyN(to, c.out, c.zip.Size); err != nil && to.failed == nil {
		return c.lost()
	}
	if to.failed == nil {
		_, _ = c.hear("gathered") // the host has removed its copy by then
	}
	return nil
}

// answer sends the operator's answer and waits for one of the keys or results.
func (c *collection) answer(word string, until ...string) (string, error) {
	if _, err := io.WriteString(c.process.Stdin(), word+"\n"); err != nil {
		return "", c.lost()
	}
	return c.hear(until...)
}

// hear reads lines until one of these keys, or results, and returns it.
func (c *collection) hear(until ...string) (string, error) {
	var why *problem.Error
	for read := 0; read < maxAnswer; {
		line, err := c.out.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return "", c.lost()
		}
		if err != nil {
			break
		}
		read += len(line)
		key, text, _ := strings.Cut(strings.TrimSuffix(string(line), "\n"), "=")
		switch key {
		case "error":
			why = hostSaid(text)
			why.Hint = c.vm.diagnosisHint(why.Message)
		case "result":
			key = text
			if text == string(Refused) && why != nil {
				return "", why
			}
		case "zip":
			if !c.announced(text) {
				return "", &problem.Error{Class: problem.Command, Message: "the host announced no valid zip"}
			}
		}
		for _, wanted := range until {
			if key == wanted {
				return key, nil
			}
		}
	}
	return "", &problem.Error{Class: problem.Command, Message: "the host's answer is invalid"}
}

// diagnosisHint returns what to do if a host refuses diagnostics.
func (v *VM) diagnosisHint(message string) string {
	switch {
	case strings.Contains(message, "gather-diags"):
		return "it comes with the agent's package, az-aoi-ingestion; leave the host out with --limit"
	case strings.Contains(message, "no diagnostics as root"):
		return "omit --as-root, or have an administrator of the host add that line"
	case !strings.Contains(message, " as user "):
	case v.helper():
		return "if it needs root: --as-root, which the host allows with diagnostics=root in /etc/aoifleet/helper.conf"
	default:
		return "if it needs root: --as-root, see docs/reference.md first"
	}
	return ""
}

// announced parses `SIZE DIGEST` into c.zip and reports whether it is valid.
func (c *collection) announced(text string) bool {
	size, digest, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	sum, hexErr := hex.DecodeString(digest)
	c.zip = Diagnostics{n, digest}
	return err == nil && hexErr == nil && n > 0 && n <= c.MaxSize && len(sum) == sha256.Size && digest == strings.ToLower(digest)
}

// lost returns why the conversation ended early.
func (c *collection) lost() error {
	c.process.Stdin().Close()
	if err := c.process.Wait(); err != nil {
		return c.vm.sudoProblem(c.ctx, err)
	}
	return &problem.Error{Class: problem.Command, Message: "the host's script ended without a result"}
}

// arrival receives the bytes of a zip.
type arrival struct {
	To          io.Writer
	digest      hash.Hash
	done, total int64
	progress    func(done, total int64)
	failed      error // from To
}

// Write writes p to To.
func (a *arrival) Write(p []byte) (int, error) {
	n, err := a.To.Write(p)
	if a.failed = err; err != nil {
		return n, err
	}
	a.digest.Write(p)
	a.done += int64(n)
	if a.progress != nil {
		a.progress(a.done, a.total)
	}
	return n, nil
}

// verdict returns the error of a transfer that ended with err, or nil if the zip has the
// digest.
func (a *arrival) verdict(err error, digest string) error {
	switch {
	case a.failed != nil:
		return &problem.Error{Class: problem.Disk,
			Message: "can't write the diagnostics on the workstation: " + clean(a.failed.Error())}
	case err != nil:
		return err
	case hex.EncodeToString(a.digest.Sum(nil)) != digest:
		return &problem.Error{Class: problem.Command,
			Message: "the diagnostics arrived incomplete: their digest differs"}
	}
	return nil
}
