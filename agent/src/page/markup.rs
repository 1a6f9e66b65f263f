//! HTML that is being written. Markup is text of this program, known when it is compiled; all that others could have made
//! up gets in escaped.

/// A document, or the part of it that there is.
#[derive(Debug, Default)]
pub(super) struct Markup(String);

impl Markup {
    /// Adds markup.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, for between two tags or within the quotation marks of an attribute.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Such as turn the direction of what follows, or have no place in a document.
                other if is_control(other) => self.0.push('\u{fffd}'),
                other => self.0.push(other),
            }
        }
        self
    }

    /// Adds an element with nothing but text in it.
    pub(super) fn element(&mut self, open: &'static str, text: &str, close: &'static str) {
        self.raw(open).text(text).raw(close);
    }

    /// The document.
    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn is_control(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_made_up_is_text_wherever_it_stands() {
        let mut markup = Markup::default();
        let hostile = "<script>alert('1')</script>\" onload=\"x\u{202e}\n&amp;";
        markup.raw("<p title=\"").text(hostile);
        markup.element("\">", hostile, "</p>");
        let text = "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot; onload=&quot;x\u{fffd}\u{fffd}&amp;amp;";
        assert_eq!(markup.finish(), format!("<p title=\"{text}\">{text}</p>"));
    }
}
