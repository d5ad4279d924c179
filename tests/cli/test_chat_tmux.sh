#!/bin/sh
# The chat in a real terminal: editing, history, paste, newline keys, Ctrl-C, resizing. Needs tmux;
# without it the test is skipped, visibly.
# Usage: test_chat_tmux.sh PROGRAM TINY_FILE
set -u
if ! command -v tmux > /dev/null; then
    echo "SKIPPED: tmux is not installed"
    exit 77
fi
program=$1
folder=$(mktemp -d)
socket=$folder/tmux
model=$folder/tiny.gguf
history=$folder/history.json
"$2" "$model" context=16384 || exit 1
unset TMUX IGN_MODEL
export LC_ALL=C.UTF-8
mux() { tmux -f /dev/null -S "$socket" "$@"; }
trap 'mux kill-server 2> /dev/null; rm -rf "$folder"' EXIT

fail() {
    echo "FAILED: $1"
    mux capture-pane -p -t chat
    cat "$history" 2> /dev/null
    exit 1
}
# wait_for PATTERN WHAT: until the screen shows a line that matches.
wait_for() {
    i=0
    until mux capture-pane -p -J -t chat | grep -q -e "$1"; do
        i=$((i + 1))
        [ $i -lt 150 ] || fail "$2"
        sleep 0.1
    done
}
# said N TEXT: user message N (from 0) of the history file is TEXT, a Python string.
said() {
    i=0
    until python3 - "$history" "$1" "$2" << 'PY' 2> /dev/null
import ast, json, sys
users = [m["content"] for m in json.load(open(sys.argv[1])) if m["role"] == "user"]
sys.exit(users[int(sys.argv[2])] != ast.literal_eval(sys.argv[3]))
PY
    do
        i=$((i + 1))
        [ $i -lt 150 ] || fail "message $1 is not $2"
        sleep 0.1
    done
}
keys() { mux send-keys -t chat "$@"; }
start() {
    mux new-session -d -s chat -x 40 -y 20 \
        "$program chat --model $model --history $history --quiet --logit-bias 84=1000 $*; \
         echo \"left with \$?\"; sleep 60"
    wait_for '^>' 'no prompt'
}

# A session that stays keeps the server up: between two chats it would otherwise be on its way out.
mux new-session -d -s keep 'sleep 600' || exit 1

start --max-tokens 4
# Editing: words, ends, wide characters, deletion. Q is byte 81, token 84.
keys 'wrold' Left Left Left BSpace Right 'r' Home 'hello ' End '!' Enter
wait_for '^QQQQ$' 'no answer'
said 0 '"hello world!"'
keys '日本語' Left 'x' C-a 'é' C-e BSpace Enter
said 1 '"é日本x"'
# History, and the draft that it gives back.
keys 'draft' Up Up
wait_for '^> hello world!$' 'no history'
keys Down Down
wait_for '^> draft$' 'the draft is lost'
keys C-u 'one two three' C-w C-w 'four' Enter
said 2 '"one four"'
# Three ways to a new line.
keys 'a' M-Enter 'b' C-j 'c\' Enter 'd' Enter
said 3 '"a\nb\nc\nd"'
# A paste with newlines and tabs is one message, sent by Enter.
printf 'def f():\n\treturn 1\n' > "$folder/paste"
mux load-buffer "$folder/paste"
mux paste-buffer -p -t chat
wait_for 'return 1' 'no paste'
keys Enter
said 4 '"def f():\n\treturn 1\n"'
# A line longer than the screen is wide, edited at its beginning.
keys 'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz' Home 'X' Enter
said 5 '"Xabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz"'
# Commands, Ctrl-C on a line, and leaving.
keys '/system be brief' Enter
keys '/system' Enter
wait_for '^be brief$' 'no /system'
keys 'dropped' C-c
keys 'kept' Enter
said 6 '"kept"'
keys C-d
wait_for '^left with 0$' 'Ctrl-D does not leave'
mux kill-session -t chat

# Ctrl-C stops an answer, not the program; on an empty line the second one leaves.
# (Guesses would make the tiny model, which repeats itself, too fast to be stopped.)
start --unbounded --ignore-eos --context 16384 --speculate off
keys 'go on' Enter
wait_for 'QQQQQQQQQQQQ' 'no long answer'
keys C-c
sleep 1
keys '/reset' Enter 'still here' Enter
sleep 1
keys C-c
said 0 '"still here"'
keys C-c
sleep 0.3
keys C-c
wait_for '^left with 0$' 'Ctrl-C twice does not leave'

echo "chat in tmux: all well"
