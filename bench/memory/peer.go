package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

//go:embed peer.py
var peerScript string

// peer is DuckDB in a Python that holds the batches and waits for queries.
type peer struct {
	cmd      *exec.Cmd
	in       io.WriteCloser
	out      *bufio.Reader
	versions string
}

func startPeer(ctx context.Context, python, events string) (*peer, error) {
	p := &peer{cmd: exec.CommandContext(ctx, python, "-c", peerScript, events)}
	p.cmd.Stderr = os.Stderr
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", python, err)
	}
	if p.versions, err = p.line(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *peer) close() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

func (p *peer) line() (string, error) {
	text, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("hear from DuckDB: %w", err)
	}
	return strings.TrimSpace(text), nil
}

func (p *peer) ask(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		return "", fmt.Errorf("ask DuckDB: %w", err)
	}
	return p.line()
}

// time is how long a query takes, until its answers are an Arrow table.
func (p *peer) time(sql string) (time.Duration, error) {
	text, err := p.ask("time %s", sql)
	if err != nil {
		return 0, err
	}
	took, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(took), err
}

// check compares lake's answers, in an Arrow file, with those of a query.
func (p *peer) check(sql, answers string) error {
	text, err := p.ask("check %s %s", answers, sql)
	if err == nil && text != "equal" {
		return errors.New(text)
	}
	return err
}
