package main

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pageWidth is that of a help page: a terminal that nobody has widened.
const pageWidth = 80

// writeHelp writes a command's page: its text, filled to the page's width, and how it is used.
func writeHelp(cmd *cobra.Command, _ []string) {
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n", filled(cmd.Long))
	if cmd.Runnable() || cmd.HasSubCommands() {
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s", cmd.UsageString())
	}
}

// filled fills the paragraphs of a text to the page's width. One with an indented
// line, an example or a table, stays as it is.
func filled(text string) string {
	paragraphs := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, p := range paragraphs {
		if !strings.HasPrefix(p, " ") && !strings.Contains(p, "\n ") && !strings.Contains(p, "\n\t") {
			var b strings.Builder
			fill(&b, p, 0)
			paragraphs[i] = b.String()
		}
	}
	return strings.Join(paragraphs, "\n\n")
}

// fill writes words, of which the first begins in a column, below which the other lines begin.
func fill(b *strings.Builder, text string, column int) {
	used := column
	for i, word := range strings.Fields(text) {
		switch width := utf8.RuneCountInString(word); {
		case i == 0:
			used += width
		case used+1+width > pageWidth:
			b.WriteString("\n" + strings.Repeat(" ", column))
			used = column + width
		default:
			b.WriteByte(' ')
			used += 1 + width
		}
		b.WriteString(word)
	}
}

// indented is a text filled to the page's width, two columns to the right.
func indented(text string) string {
	var b strings.Builder
	b.WriteString("  ")
	fill(&b, text, 2)
	return b.String()
}

// writeUsage writes what follows the text of a help page: cobra's own parts, none
// of them wider than the page.
func writeUsage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s COMMAND\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nCommands:\n")
		list(&b, cmd, (*cobra.Command).IsAvailableCommand)
		if cmd.HasHelpSubCommands() {
			b.WriteString("\nMore help:\n")
			list(&b, cmd, (*cobra.Command).IsAdditionalHelpTopicCommand)
		}
	}
	flags(&b, "Flags", cmd.LocalFlags())
	flags(&b, "Flags of all commands", cmd.InheritedFlags())
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%s COMMAND has a page for each.\n", strings.Replace(cmd.CommandPath(), "lake", "lake help", 1))
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// list writes the commands below cmd that are wanted, with what each is for.
func list(b *strings.Builder, cmd *cobra.Command, wanted func(*cobra.Command) bool) {
	below := slices.DeleteFunc(slices.Clone(cmd.Commands()), func(c *cobra.Command) bool { return !wanted(c) })
	longest := 0
	for _, c := range below {
		longest = max(longest, len(c.Name()))
	}
	for _, c := range below {
		head := fmt.Sprintf("  %-*s  ", longest, c.Name())
		b.WriteString(head)
		fill(b, c.Short, len(head))
		b.WriteByte('\n')
	}
}

// flags writes flags with what each is for.
func flags(b *strings.Builder, head string, set *pflag.FlagSet) {
	const slop = 5 // by which pflag's lines may be longer than they are told
	if set.HasAvailableFlags() {
		fmt.Fprintf(b, "\n%s:\n%s", head, set.FlagUsagesWrapped(pageWidth-slop))
	}
}

// addCompletion adds cobra's command for shells, its pages in the form of the others.
func addCompletion(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Short = "the page of a command"
			c.Long = "Help prints the page of a command, as COMMAND --help does."
			c.Example = "  lake help ingest\n  lake help exit-codes"
		case "completion":
			c.Short = "a script that completes lake's commands and flags in a shell"
			c.Long = `Completion prints a script for a shell, which then completes lake's commands and
flags. The page of each shell says where the script belongs.`
			c.Example = "  source <(lake completion bash)"
			for _, shell := range c.Commands() {
				shell.Short = "the script for " + shell.Name()
				shell.Example = "  lake completion " + shell.Name()
			}
		}
	}
}
