// Package agent is a stand-in for the ingestion agent: it reads the agent's
// own config.yaml, loads the certificate of each service principal when it
// needs a token, writes the agent's kind of log and listens as the agent does.
// It asks no Entra: a text file of accepted thumbprints answers instead, or a
// function, and another text file makes it misbehave in the ways that real agents do.
package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Where the real agent has its configuration and its log.
const (
	DefaultConfigPath = "/etc/az-aoi-ingestion/config.yaml"
	DefaultLogPath    = "/var/log/az-aoi-ingestion/stdout.log"
)

// DefaultPort is the TCP port of the MCC EDR listener when the configuration
// names none.
const DefaultPort = 36001

const (
	defaultTokenDelay = 2 * time.Second
	defaultRetryDelay = 3 * time.Second
	maxFileSize       = 1 << 20 // bytes; of every file that the agent reads
	crashLoopLife     = 100 * time.Millisecond
	requestTime       = 50 * time.Millisecond // nobody has a token from Entra at once
)

// ErrFault is what Run returns when the fault file told it to die.
var ErrFault = errors.New("told to exit by the fault file")

// ErrKilled is the cause of a context whose end is the agent's death without a
// word, as by a power cut; see context.WithCancelCause.
var ErrKilled = errors.New("killed")

// Config says where one agent lives. The zero value of each field has a
// meaning; only EntraPath and FaultPath are not put below Root.
type Config struct {
	Root       string // put before every path of the machine; empty: the real root
	ConfigPath string // empty: DefaultConfigPath
	LogPath    string // empty: DefaultLogPath; its directory must exist
	EntraPath  string // accepted SHA-1 thumbprints, one a line; no such file: every one is accepted
	// Registered answers in place of EntraPath for a SHA-1 thumbprint, in upper-case
	// hexadecimal; nil: EntraPath does.
	Registered func(thumbprint string) bool
	FaultPath  string // see ParseFaults; empty or no such file: no fault
	// Listen makes an agent with an MCC EDR source listen on 127.0.0.1. Else
	// it says so in Root/proc/net/tcp only, so that many agents fit on one
	// machine; Root must not be empty then.
	Listen     bool
	Colour     bool          // ANSI colours in the log, as `tracing` writes to a terminal
	TokenDelay time.Duration // before the first token of an agent without SFTP pull source; 0: two seconds
	RetryDelay time.Duration // between two tries for a token; 0: three seconds
	// Load decodes a certificate file; nil: LoadCertificate. One that
	// remembers results makes a thousand agents in a process cheap.
	Load func(data []byte) (Credential, error)
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

// Run is the life of the process: nil when ctx ended it (see ErrKilled), else the reason of an
// exit with status 1, such as a configuration that can't be read. A
// certificate that can't be used is no such reason: as the real agent, Run then
// logs an error every RetryDelay and stays.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	a := &agent{Config: cfg, log: &logger{path: cfg.inRoot(cfg.LogPath), colour: cfg.Colour}}
	s, err := readSettings(cfg.inRoot(cfg.ConfigPath))
	a.settings = s
	a.faults = a.readFaults()
	a.log.silent = a.faults.has("silent")
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
	if !sleep(ctx, a.faults.duration("slow-start")) {
		return a.ending(ctx)
	}
	a.log.line("INFO", "az_aoi_ingestion", "Starting az-aoi-ingestion, agent_id "+a.settings.AgentID)
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

// lifetime ends the agent by itself where the fault file wants that.
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

// authenticate gets a token for every service principal, again and again until
// all have one or ctx ends. A catch-up upload starts at once after a restart,
// so an SFTP pull source shows a bad certificate soon; others take their time.
func (a *agent) authenticate(ctx context.Context) {
	delay := a.TokenDelay
	if a.settings.pulls {
		delay = requestTime
	}
	todo := a.settings.certificates
	for sleep(ctx, delay) && len(todo) > 0 {
		var left []string
		for _, path := range todo {
			if !a.token(path) {
				left = append(left, path)
			}
		}
		todo, delay = left, a.RetryDelay
	}
}

// token is one try for one service principal.
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
	return true
}

func (a *agent) credential(path string) (Credential, error) {
	data, err := readBounded(a.inRoot(path))
	if err != nil {
		return Credential{}, err
	}
	return a.Load(data)
}

// sleep waits for d and tells whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// readBounded reads a file of at most maxFileSize bytes.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFileSize {
		return nil, fmt.Errorf("%s is no file of at most %d bytes", path, maxFileSize)
	}
	return os.ReadFile(path)
}
