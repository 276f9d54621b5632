// Package agent is a stand-in for the ingestion agent: it reads the agent's
// own config.yaml, loads the certificate of each service principal when it
// needs a token, writes a log like the agent's and listens as the agent does.
// Instead of Entra it uses a text file of accepted thumbprints, or a
// function. Another text file makes it misbehave as real agents do.
package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aoifleet/aoifleet/internal/localfile"
	"github.com/aoifleet/aoifleet/internal/sleep"
)

// The paths of the real agent's configuration and log.
const (
	DefaultConfigPath = "/etc/az-aoi-ingestion/config.yaml"
	DefaultLogPath    = "/var/log/az-aoi-ingestion/stdout.log"
)

// DefaultPort is the TCP port of the MCC EDR listener if the configuration
// names none.
const DefaultPort = 36001

const (
	defaultTokenDelay = 2 * time.Second
	defaultRetryDelay = 3 * time.Second
	maxFileSize       = 1 << 20 // bytes; of every file that the agent reads
	crashLoopLife     = 100 * time.Millisecond
	requestTime       = 50 * time.Millisecond // no token arrives immediately
)

// ErrFault is the error of Run if the fault file makes the agent exit.
var ErrFault = errors.New("exit requested by the fault file")

// ErrKilled is the cause of a context whose end kills the agent without a log
// line, as by a power cut; see context.WithCancelCause.
var ErrKilled = errors.New("killed")

// Config has the paths and settings of one agent. The zero value of each field has
// a meaning; all paths except EntraPath and FaultPath are below Root.
type Config struct {
	Root       string // prefix of every path of the machine; empty: the real root
	ConfigPath string // empty: DefaultConfigPath
	LogPath    string // empty: DefaultLogPath; its directory must exist
	EntraPath  string // accepted SHA-1 thumbprints, one per line; no such file: all are accepted
	// Registered replaces EntraPath: it reports whether a SHA-1 thumbprint, in upper-case
	// hexadecimal, is accepted; nil: EntraPath is used.
	Registered func(thumbprint string) bool
	Version    string // of its package; empty: unknown
	FaultPath  string // see ParseFaults; empty or no such file: no fault
	// Listen makes an agent with an MCC EDR source listen on 127.0.0.1. Otherwise
	// the agent only writes the socket to Root/proc/net/tcp, so that many agents fit
	// on one machine; Root must then not be empty.
	Listen     bool
	Colour     bool          // ANSI colours in the log, as `tracing` writes to a terminal
	TokenDelay time.Duration // before the first token of an agent without SFTP pull source; 0: two seconds
	RetryDelay time.Duration // between two token requests; 0: three seconds
	// Load decodes a certificate file; nil: LoadCertificate. A function that
	// caches results makes a thousand agents in a process cheap.
	Load func(data []byte) (Credential, error)
	// Ready is called when the configuration and the faults are read; nil: not.
	Ready func()
}

func (c Config) withDefaults() Config {
	if c.ConfigPath == "" {
		c.ConfigPath = DefaultConfigPath
	}
	if c.LogPath == "" {
		c.LogPath = DefaultLogPath
	}
	if c.TokenDelay == 0 {
		c.TokenDelay = defaultTokenDelay
	}
	if c.RetryDelay == 0 {
		c.RetryDelay = defaultRetryDelay
	}
	if c.Load == nil {
		c.Load = LoadCertificate
	}
	if c.Ready == nil {
		c.Ready = func() {}
	}
	return c
}

func (c Config) inRoot(path string) string { return filepath.Join(c.Root, path) }

// agent is one running process.
type agent struct {
	Config
	settings settings
	faults   faults
	log      *logger
}

// Run runs the agent until it exits. It returns nil if ctx ended it (see ErrKilled),
// else the reason for an exit with status 1, such as a configuration that can't be
// read. An unusable certificate does not end Run: like the real agent, Run then
// logs an error every RetryDelay and continues.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	a := &agent{Config: cfg, log: &logger{path: cfg.inRoot(cfg.LogPath), colour: cfg.Colour}}
	s, err := readSettings(cfg.inRoot(cfg.ConfigPath))
	a.settings = s
	a.faults = a.readFaults()
	a.log.silent = a.faults.has("silent")
	cfg.Ready()
	if a.faults.has("exit-at-start") {
		return ErrFault
	}
	if err != nil {
		a.log.line("ERROR", "az_aoi_ingestion", fmt.Sprintf("Failed to load configuration from %s: %v", cfg.ConfigPath, err))
		return err
	}
	return a.live(ctx)
}

func (a *agent) live(ctx context.Context) error {
	ctx, cancel := a.lifetime(ctx)
	defer cancel()
	if !sleep.For(ctx, a.faults.duration("slow-start")) {
		return a.ending(ctx)
	}
	a.log.line("INFO", "az_aoi_ingestion", strings.TrimSpace("Starting az-aoi-ingestion "+a.Version)+", agent_id "+a.settings.AgentID)
	if text, ok := a.faults.text("deny-line"); ok {
		a.log.line("ERROR", "az_aoi_ingestion::upload", text)
	}
	stop, err := a.listen()
	if err != nil {
		a.log.line("ERROR", "az_aoi_ingestion::mcc_edrs", err.Error())
		return err
	}
	defer stop()
	a.authenticate(ctx)
	<-ctx.Done()
	return a.ending(ctx)
}

// lifetime returns a context that ends if the fault file makes the agent exit.
func (a *agent) lifetime(ctx context.Context) (context.Context, context.CancelFunc) {
	life := a.faults.duration("exit-after")
	if a.faults.has("crash-loop") {
		life = crashLoopLife
	}
	if life <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, life, ErrFault)
}

func (a *agent) ending(ctx context.Context) error {
	if errors.Is(context.Cause(ctx), ErrFault) {
		a.log.line("ERROR", "az_aoi_ingestion", "panicked at 'called `Result::unwrap()` on an `Err` value'")
		return ErrFault
	}
	if errors.Is(context.Cause(ctx), ErrKilled) {
		return nil
	}
	a.log.line("INFO", "az_aoi_ingestion", "Shutting down")
	return nil
}

// authenticate gets a token for every service principal, and retries until
// all have one or ctx ends. A catch-up upload starts immediately after a restart,
// so an SFTP pull source shows a bad certificate soon; other sources show it later.
func (a *agent) authenticate(ctx context.Context) {
	delay := a.TokenDelay
	if len(a.settings.pulls) > 0 {
		delay = requestTime
	}
	todo := a.settings.certificates
	for sleep.For(ctx, delay) && len(todo) > 0 {
		var left []string
		for _, path := range todo {
			if !a.token(path) {
				left = append(left, path)
			}
		}
		todo, delay = left, a.RetryDelay
	}
}

// token requests a token for one service principal once.
func (a *agent) token(path string) bool {
	cred, err := a.credential(path)
	if err != nil {
		a.log.line("ERROR", "az_aoi_ingestion::secrets", fmt.Sprintf("Failed to get a token: cannot load PKCS12 certificate %s: %v", path, err))
		return false
	}
	refusal := a.askEntra(cred)
	if refusal == "" && a.faults.has("log-only") {
		refusal = notRegistered(cred)
	}
	if refusal != "" {
		a.log.line("ERROR", "az_aoi_ingestion::secrets", "Failed to authenticate: "+refusal)
		return false
	}
	a.log.line("INFO", "az_aoi_ingestion::upload", "catch-up upload finished, thumbprint "+cred.Thumbprint)
	a.logRuns(path)
	return true
}

// logRuns logs the first run of each SFTP source that uploads with this certificate, as the
// vendor's sample has it.
func (a *agent) logRuns(path string) {
	uploads, errors := 1, 0
	if a.faults.has("no-upload") {
		uploads, errors = 0, 1
	}
	for _, p := range a.settings.pulls {
		if i := slices.Index(a.settings.providers, p.provider); i < 0 || a.settings.certificates[i] != path {
			continue
		}
		run := fmt.Sprintf("sftp_pull{pipeline_id=%q}:execute_run{start_time=%q}: az_ingestion_sftp_pull_source::sftp::source", p.id, time.Now().UTC().Format("2006-01-02 15:04:05.000000 UTC"))
		a.log.line("INFO", run, fmt.Sprintf("Run lasted 0 minutes and 0 seconds with result: RunStats { successful_uploads: %d, retryable_errors: %d, non_retryable_errors: 0, blob_already_exists: 0 }", uploads, errors))
	}
}

func (a *agent) credential(path string) (Credential, error) {
	data, err := localfile.ReadRegular(a.inRoot(path), maxFileSize)
	if err != nil {
		return Credential{}, err
	}
	return a.Load(data)
}
