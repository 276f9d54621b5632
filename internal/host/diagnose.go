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
	// BeforeUndo is what the agent's diagnostics tool has before a rollback; with
	// the copy of a large zip the agent waits for up to a minute longer.
	BeforeUndo = 45 * time.Second
	// MaxDiagnostics is the most that is taken of a host unless a Diagnosis says
	// else, in bytes.
	MaxDiagnostics = 512 << 20
	// zipTimeout bounds the way home of one zip, and how long it may wait on the
	// host for its operator. Below the hour after which a recovery removes it.
	zipTimeout = 30 * time.Minute
	zipName    = "diagnostics.zip"
	// sftpTimeout is how long a host's SFTP may take to say its first word; it has
	// had all the time of the tool for that.
	sftpTimeout = 10 * time.Second
)

// Diagnosis says which diagnostics are wanted.
type Diagnosis struct {
	// Within is how long the agent's tool may take, in whole seconds; 0: it is
	// not run, what a rotation of this run has gathered is wanted.
	Within  time.Duration
	MaxSize int64 // of the zip, in bytes; 0: MaxDiagnostics
	// AsRoot runs the tool as root. What the agent's user can write may then lead it
	// to any file of the host. Otherwise it runs as the unit's user.
	AsRoot bool
	To     io.Writer // gets the zip; nil: it stays on the host, for a later Diagnose of this run
	// Progress is called as the bytes come; may be nil.
	Progress func(done, total int64)
}

// Diagnostics is a zip that has come home whole, or stays on the host.
type Diagnostics struct {
	Size   int64  // bytes
	SHA256 string // lower-case hex
}

// Diagnose runs the agent's own diagnostics tool and brings its zip home: over
// SFTP, or through the command's own output where there is none. Nothing is left
// on the host unless To is nil. With an error what To got is worthless.
// The result is nil without an error where nothing was gathered before.
func (v *VM) Diagnose(ctx context.Context, d Diagnosis) (*Diagnostics, error) {
	if d.MaxSize == 0 {
		d.MaxSize = MaxDiagnostics
	}
	ctx, cancel := v.within(ctx, d.Within+zipTimeout+2*time.Minute+v.patience())
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
	if _, err := send(process.Stdin(), append(v.needed(&shell{}, "diagnose"), in)); err != nil {
		return nil, v.notRoot(ctx, process.Wait())
	}
	c := &collection{ctx: ctx, vm: v, process: process, out: bufio.NewReaderSize(process.Stdout(), 64<<10), Diagnosis: d}
	return c.collect(ctx)
}

func (v *VM) diagnosisValues(d Diagnosis) []value {
	values := append(v.common(), value{"diagnostics", wholeSeconds(d.Within)}, value{"size", strconv.FormatInt(d.MaxSize, 10)},
		value{"source", ".aoifleet-diags-" + v.run.ID}, value{"hold", wholeSeconds(zipTimeout)})
	if d.AsRoot { // an earlier helper does not know the key
		values = append(values, value{"as_root", "yes"})
	}
	return values
}

// collection is the conversation with host.sh while it diagnoses.
type collection struct {
	Diagnosis
	ctx     context.Context // of the whole
	vm      *VM
	process *remote.Process
	out     *bufio.Reader
	told    Diagnostics // what the host says of its zip
}

func (c *collection) collect(ctx context.Context) (*Diagnostics, error) {
	found, err := c.hear("zip", "none")
	if err != nil || found != "zip" {
		return nil, err
	}
	to := &arrival{To: c.To, digest: sha256.New(), total: c.told.Size, progress: c.Progress}
	switch {
	case c.To == nil:
		_, err = c.answer("keep", "kept")
		return &c.told, err
	case !c.hasSFTP(ctx): // if it is the connection that is lost, what follows says so
		err = c.send(to)
	default:
		err = c.hand(ctx, to)
	}
	if err = to.verdict(err, c.told.SHA256); err != nil {
		return nil, err
	}
	return &c.told, nil
}

// hasSFTP also gives up one that does not answer.
func (c *collection) hasSFTP(ctx context.Context) bool {
	ctx, cancel := c.vm.within(ctx, sftpTimeout)
	defer cancel()
	return c.vm.conn.OpenSFTP(ctx) == nil
}

// hand takes the zip over SFTP, out of a folder of the login user's.
func (c *collection) hand(ctx context.Context, to *arrival) error {
	if _, err := c.answer("hand", "handed"); err != nil {
		return err
	}
	if err := c.vm.conn.Get(ctx, ".aoifleet-diags-"+c.vm.run.ID, zipName, c.told.Size, to); err != nil {
		return err
	}
	// It is here, whatever becomes of the rest: the host removes its copy, also
	// when nobody says anything any more.
	_, _ = c.answer("done", "gathered")
	return nil
}

// send takes the zip as the bytes that follow.
func (c *collection) send(to *arrival) error {
	if _, err := io.WriteString(c.process.Stdin(), "send\n"); err != nil {
		return c.lost()
	}
	if _, err := io.CopyN(to, c.out, c.told.Size); err != nil && to.failed == nil {
		return c.lost()
	}
	if to.failed == nil {
		_, _ = c.hear("gathered") // removed there by then
	}
	return nil
}

// answer gives the operator's word and waits for what it leads to.
func (c *collection) answer(word string, until ...string) (string, error) {
	if _, err := io.WriteString(c.process.Stdin(), word+"\n"); err != nil {
		return "", c.lost()
	}
	return c.hear(until...)
}

// hear reads until the host says one of these, which may be a key or the text of
// a result.
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
				return "", &problem.Error{Class: problem.Command, Message: "the host does not say what its zip is"}
			}
		}
		for _, wanted := range until {
			if key == wanted {
				return key, nil
			}
		}
	}
	return "", &problem.Error{Class: problem.Command, Message: "what the host says can't be understood"}
}

// diagnosisHint is what to do where a host has no diagnostics to give.
func (v *VM) diagnosisHint(message string) string {
	switch {
	case strings.Contains(message, "gather-diags"):
		return "it comes with the agent's package, az-aoi-ingestion; leave the host out with --limit"
	case strings.Contains(message, "no diagnostics as root"):
		return "leave --as-root out, or let an administrator of the host write that line"
	case !strings.Contains(message, " as user "):
	case v.helper():
		return "if it needs root: --as-root, which the host allows with diagnostics=root in /etc/aoifleet/helper.conf"
	default:
		return "if it needs root: --as-root, see docs/reference.md first"
	}
	return ""
}

// announced reads `SIZE DIGEST`.
func (c *collection) announced(text string) bool {
	size, digest, _ := strings.Cut(text, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	sum, hexErr := hex.DecodeString(digest)
	c.told = Diagnostics{n, digest}
	return err == nil && hexErr == nil && n > 0 && n <= c.MaxSize && len(sum) == sha256.Size && digest == strings.ToLower(digest)
}

// lost is why the conversation has ended before its end.
func (c *collection) lost() error {
	c.process.Stdin().Close()
	if err := c.process.Wait(); err != nil {
		return c.vm.notRoot(c.ctx, err)
	}
	return &problem.Error{Class: problem.Command, Message: "the host's script stopped before its end"}
}

// arrival takes the bytes of a zip as they come.
type arrival struct {
	To          io.Writer
	digest      hash.Hash
	done, total int64
	progress    func(done, total int64)
	failed      error // of To
}

// Write passes p on.
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

// verdict is what to make of a transfer that ended with err and should have this
// digest.
func (a *arrival) verdict(err error, digest string) error {
	switch {
	case a.failed != nil:
		return &problem.Error{Class: problem.Disk,
			Message: "the diagnostics can't be written here: " + clean(a.failed.Error())}
	case err != nil:
		return err
	case hex.EncodeToString(a.digest.Sum(nil)) != digest:
		return &problem.Error{Class: problem.Command,
			Message: "the diagnostics did not arrive whole: their digest is another"}
	}
	return nil
}
