// Command up starts real servers and stops them at Ctrl-C:
//
//	go run ./services/up kafka postgres gcs s3
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"lake/services"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "up:", err)
		os.Exit(1)
	}
}

// server is one that runs, and what to say of it.
type server struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Log     string `json:"log"`
	PID     int    `json:"pid"`
	stop    func() error
}

// starters is the only map from a name to a server.
var starters = map[string]func(context.Context, services.Options) (server, error){
	"kafka": func(ctx context.Context, o services.Options) (server, error) {
		k, err := services.StartKafka(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"kafka", strings.Join(k.Brokers(), ","), k.Log(), k.PID(), k.Close}, nil
	},
	"bigquery": func(ctx context.Context, o services.Options) (server, error) {
		b, err := services.StartBigQuery(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"bigquery", b.Endpoint() + " project " + b.Project() + ", buckets in " + b.Buckets(), b.Log(), b.PID(), b.Close}, nil
	},
	"hdfs": func(ctx context.Context, o services.Options) (server, error) {
		h, err := services.StartHDFS(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"hdfs", h.URI() + " HADOOP_CONF_DIR=" + h.ConfDir(), h.Log(), h.PID(), h.Close}, nil
	},
	"hive": func(ctx context.Context, o services.Options) (server, error) {
		m, err := services.StartMetastore(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"hive", m.URI(), m.Log(), m.PID(), m.Close}, nil
	},
	"hiveserver": func(ctx context.Context, o services.Options) (server, error) {
		h, err := services.StartHiveServer2(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"hiveserver", h.Address() + " metastore " + h.Metastore().URI(), h.Log(), h.PID(), h.Close}, nil
	},
	"spark-thrift": func(ctx context.Context, o services.Options) (server, error) {
		s, err := services.StartSparkThrift(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"spark-thrift", s.Address(), s.Log(), s.PID(), s.Close}, nil
	},
	"flink": func(ctx context.Context, o services.Options) (server, error) {
		f, err := services.StartFlink(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"flink", f.Gateway(), f.Log(), f.PID(), f.Close}, nil
	},
	"postgres": func(ctx context.Context, o services.Options) (server, error) {
		p, err := services.StartPostgres(ctx, o)
		if err != nil {
			return server{}, err
		}
		return server{"postgres", p.URL(), p.Log(), p.PID(), p.Close}, nil
	},
	"gcs": func(ctx context.Context, o services.Options) (server, error) {
		g, err := services.StartGCS(ctx, o)
		if err != nil {
			return server{}, err
		}
		if err := g.MakeBucket(ctx, "lake"); err != nil {
			return server{}, errors.Join(err, g.Close())
		}
		return server{"gcs", exports(g.Env()), g.Log(), g.PID(), g.Close}, nil
	},
	"s3": func(ctx context.Context, o services.Options) (server, error) {
		s, err := services.StartS3(ctx, o)
		if err != nil {
			return server{}, err
		}
		if err := s.MakeBucket(ctx, "lake"); err != nil {
			return server{}, errors.Join(err, s.Close())
		}
		return server{"s3", exports(s.Env()), s.Log(), s.PID(), s.Close}, nil
	},
}

// exports are the variables that lead a client to a server, as a shell takes them.
func exports(env map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "%s=%s ", key, env[key])
	}
	return strings.TrimSpace(b.String())
}

// names are the servers that there are, for messages.
func names() string { return strings.Join(slices.Sorted(maps.Keys(starters)), ", ") }

// settings collects -set key=value.
type settings map[string]string

func (s settings) String() string { return fmt.Sprint(map[string]string(s)) }

func (s settings) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("write key=value")
	}
	s[key] = value
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.SetOutput(stderr)
	output := flags.String("output", "text", "text, or json: one line an object once it answers")
	dir := flags.String("dir", "", "folder of data and log, kept; a temporary one, removed at the end, if empty (one server only)")
	set := settings{}
	flags.Var(set, "set", "key=value of the server's configuration (one server only)")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: up [flags] server ...\nservers: "+names())
		flags.PrintDefaults()
	}
	wanted, err := parse(flags, args)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		flags.Usage()
		return errors.New("name a server: " + names())
	}
	if *output != "text" && *output != "json" {
		return fmt.Errorf("--output %s: write text or json", *output)
	}
	if len(wanted) > 1 && (*dir != "" || len(set) > 0) {
		return errors.New("--dir and --set go with one server")
	}
	var running []server
	defer func() {
		for _, s := range slices.Backward(running) {
			err = errors.Join(err, s.stop())
		}
	}()
	for _, name := range wanted {
		begin, ok := starters[name]
		if !ok {
			return fmt.Errorf("server %s is not known: %s", name, names())
		}
		s, err := begin(ctx, services.Options{Dir: *dir, Log: stderr, Settings: set})
		if err != nil {
			return err
		}
		running = append(running, s)
		if *output == "json" {
			err = json.NewEncoder(stdout).Encode(s)
		} else {
			_, err = fmt.Fprintf(stdout, "%-12s %s\n%-12s log %s\n", s.Name, s.Address, "", s.Log)
		}
		if err != nil {
			return err
		}
	}
	if *output == "text" {
		fmt.Fprintln(stdout, "Ctrl-C stops them.")
	}
	<-ctx.Done()
	return nil
}

// parse takes flags before, between and after the names.
func parse(flags *flag.FlagSet, args []string) ([]string, error) {
	var names []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		if flags.NArg() == 0 {
			return names, nil
		}
		names = append(names, flags.Arg(0))
		args = flags.Args()[1:]
	}
}
