"""What Rollcast's services share. They never import each other; they meet here and on topics."""
