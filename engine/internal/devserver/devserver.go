// Package devserver runs a Temporal server in this process, with its data in a folder: for a
// first look and for tests. It listens on loopback only, without TLS and without any check of who
// asks: whoever can log in to this machine can use it. For a fleet run Temporal's own server.
package devserver

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.temporal.io/server/common/cluster"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/membership/static"
	"go.temporal.io/server/common/metrics"
	"go.temporal.io/server/common/persistence/sql"
	"go.temporal.io/server/common/persistence/sql/sqlplugin"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/primitives"
	"go.temporal.io/server/common/resolver"
	schema "go.temporal.io/server/schema/sqlite"
	"go.temporal.io/server/temporal"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/aoifleet/aoifleet/internal/problem"
)

const (
	loopback = "127.0.0.1"
	// retention is how long what has ended can be read.
	retention = 30 * 24 * time.Hour

	databaseName = "temporal.db"
	portName     = "port"
	logName      = "server.log"
)

// services in the order of their ports.
var services = []primitives.ServiceName{primitives.FrontendService, primitives.HistoryService, primitives.MatchingService, primitives.WorkerService}

// Server is a running server.
type Server struct {
	folder string
	port   int
	server temporal.Server
	logs   *logFile
	stop   func() error
}

// Start starts a server with the data in a folder, which it makes if there is none. A folder that
// was used before has its data and its port, so that clients find it again. It has the namespaces,
// without any the namespace default. The error is a *problem.Error of class usage.
func Start(folder string, namespaces ...string) (*Server, error) {
	if len(namespaces) == 0 {
		namespaces = []string{"default"}
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, failed(folder, err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, failed(folder, err)
	}
	s := &Server{folder: folder}
	s.stop = sync.OnceValue(s.end)
	ports, err := s.ports()
	if err != nil {
		return nil, err
	}
	s.port = ports[0]
	settings := s.settings(ports)
	if err := s.prepare(settings, namespaces); err != nil {
		return nil, failed(folder, err)
	}
	if err := s.start(settings); err != nil {
		return nil, failed(folder, err)
	}
	return s, nil
}

func failed(folder string, err error) error {
	return problem.New(problem.Usage, "its log is "+filepath.Join(folder, logName), "can't start a Temporal server in %s: %v", folder, err)
}

// Address returns the address of the server, HOST:PORT.
func (s *Server) Address() string { return net.JoinHostPort(loopback, strconv.Itoa(s.port)) }

// DatabaseFile returns the path of the database. While the server runs, the last changes are in the
// file with the suffix -wal beside it; after Stop they are in it.
func (s *Server) DatabaseFile() string { return filepath.Join(s.folder, databaseName) }

// Stop stops the server, once. The folder can be used again.
func (s *Server) Stop() error { return s.stop() }

func (s *Server) end() error { return errors.Join(s.server.Stop(), s.checkpoint(), s.logs.Close()) }

// checkpoint moves the write-ahead log into the database.
func (s *Server) checkpoint() error {
	db, err := sql.NewSQLAdminDB(sqlplugin.DbKindUnknown, s.database(), resolver.NewNoopResolver(), log.NewNoopLogger(), metrics.NoopMetricsHandler)
	if err != nil {
		return err
	}
	return errors.Join(db.Exec("PRAGMA wal_checkpoint(TRUNCATE)"), db.Close())
}

// ports returns the ports of the services. That of the frontend is the one that is noted in the
// folder: if it is taken, the server of the folder runs already.
func (s *Server) ports() ([]int, error) {
	noted := filepath.Join(s.folder, portName)
	text, err := os.ReadFile(noted)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(s.folder, err)
	}
	first, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0: any
	var ports []int
	for _, port := range []int{first, 0, 0, 0} {
		l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(port)))
		if err != nil {
			return nil, problem.New(problem.Usage, "stop it first; if it does not run, remove "+noted, "port %d, of the Temporal server in %s, is in use: does it run already?", port, s.folder)
		}
		defer l.Close() // all are held until they are known, so that they differ
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	if err := os.WriteFile(noted, fmt.Appendf(nil, "%d\n", ports[0]), 0o600); err != nil {
		return nil, failed(s.folder, err)
	}
	return ports, nil
}

// settings returns what Temporal's own development server has, without metrics and profiles, which
// would listen on more ports.
func (s *Server) settings(ports []int) *config.Config {
	c := &config.Config{
		Persistence: config.Persistence{
			DefaultStore: sqlite.PluginName, VisibilityStore: sqlite.PluginName, NumHistoryShards: 1,
			DataStores: map[string]config.DataStore{sqlite.PluginName: {SQL: s.database()}},
		},
		ClusterMetadata: &cluster.Config{
			FailoverVersionIncrement: 10, MasterClusterName: "active", CurrentClusterName: "active",
			ClusterInformation: map[string]cluster.ClusterInformation{"active": {Enabled: true, InitialFailoverVersion: 1, RPCAddress: s.Address()}},
		},
		DCRedirectionPolicy: config.DCRedirectionPolicy{Policy: "noop"},
		PublicClient:        config.PublicClient{HostPort: s.Address()},
		Services:            map[string]config.Service{},
		Archival: config.Archival{
			History:    config.HistoryArchival{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchival{State: config.ArchivalDisabled},
		},
		NamespaceDefaults: config.NamespaceDefaults{Archival: config.ArchivalNamespaceDefaults{
			History:    config.HistoryArchivalNamespaceDefaults{State: config.ArchivalDisabled},
			Visibility: config.VisibilityArchivalNamespaceDefaults{State: config.ArchivalDisabled},
		}},
	}
	for i, name := range services {
		c.Services[string(name)] = config.Service{RPC: config.RPC{GRPCPort: ports[i], BindOnIP: loopback}}
	}
	return c
}

// database returns how a file is opened. Temporal never closes it while the process runs.
func database(path string, attributes map[string]string) *config.SQL {
	escaped := (&url.URL{Path: path}).EscapedPath() // SQLite reads it as a URI
	return &config.SQL{PluginName: sqlite.PluginName, DatabaseName: escaped, ConnectAttributes: attributes}
}

// database returns how the server opens its file. The write-ahead log survives the end of the
// process at any moment; a power cut may lose the last changes.
func (s *Server) database() *config.SQL {
	return database(s.DatabaseFile(), map[string]string{"mode": "rw", "journal_mode": "wal", "synchronous": "normal"})
}

// prepare makes the database, completely or not at all, and the namespaces.
func (s *Server) prepare(settings *config.Config, namespaces []string) error {
	if _, err := os.Stat(s.DatabaseFile()); errors.Is(err, fs.ErrNotExist) {
		unfinished := s.DatabaseFile() + ".new"
		if err := os.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Without a write-ahead log, so that all is in the file that is renamed.
		if err := schema.SetupSchema(database(unfinished, map[string]string{"mode": "rwc"})); err != nil {
			return err
		}
		if err := os.Rename(unfinished, s.DatabaseFile()); err != nil {
			return err
		}
	}
	var all []*schema.NamespaceConfig
	for _, name := range namespaces {
		namespace, err := schema.NewNamespaceConfig(settings.ClusterMetadata.CurrentClusterName, name, false, nil)
		if err != nil {
			return err
		}
		namespace.Detail.Config.Retention = durationpb.New(retention)
		all = append(all, namespace)
	}
	return schema.CreateNamespaces(s.database(), all...)
}

// start starts the services. The server reports some errors by its logger's Fatal, which ends the
// process otherwise; here it panics.
func (s *Server) start(settings *config.Config) (err error) {
	if s.logs, err = openLog(filepath.Join(s.folder, logName)); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			_ = s.logs.Close()
		}
	}()
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewProductionEncoderConfig()), s.logs, zapcore.WarnLevel)
	hosts := map[primitives.ServiceName]static.Hosts{}
	for _, name := range services {
		hosts[name] = static.SingleLocalHost(net.JoinHostPort(loopback, strconv.Itoa(settings.Services[string(name)].RPC.GRPCPort)))
	}
	s.server, err = temporal.NewServer(
		temporal.WithConfig(settings),
		temporal.ForServices(temporal.DefaultServices),
		temporal.WithStaticHosts(hosts),
		temporal.WithLogger(log.NewZapLogger(zap.New(core, zap.WithFatalHook(zapcore.WriteThenPanic)))),
	)
	if err != nil {
		return err
	}
	return s.server.Start()
}
