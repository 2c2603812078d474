"""The caption grammar: exactly true sentences about a composed scene.

Every function takes a random.Random and returns text.  Letter case is left
mixed on purpose: the tokenizer folds case itself.
"""
NUMBERS = ['zero', 'one', 'two', 'three', 'four', 'five', 'six']
PREFIXES = ['a picture of ', 'an emoji of ', 'clip art of ', 'a drawing of ',
            'an illustration of ', 'an icon of ', 'an image of ']
BACKGROUNDS = {
    'red': (220, 40, 40), 'orange': (245, 140, 30), 'yellow': (250, 210, 50),
    'green': (60, 160, 70), 'blue': (50, 100, 220), 'purple': (135, 70, 185),
    'pink': (245, 150, 190), 'brown': (130, 80, 45), 'black': (24, 24, 24),
    'white': (250, 250, 250), 'gray': (140, 140, 145),
    'light blue': (160, 210, 250), 'light green': (165, 225, 150),
    'dark blue': (25, 40, 110), 'beige': (235, 220, 185)}
SKIES = {'blue': ((110, 180, 245), (190, 225, 250)),
         'sunset': ((240, 120, 80), (255, 205, 120)),
         'night': ((12, 18, 60), (40, 50, 110)),
         'cloudy': ((150, 160, 172), (205, 210, 216)),
         'pink': ((240, 160, 200), (250, 210, 225))}
GROUNDS = {'grass': (90, 170, 70), 'sand': (230, 205, 140),
           'snow': (238, 243, 250), 'water': (45, 110, 190),
           'a road': (95, 95, 102)}


def article(word):
    return 'an' if word[0].lower() in 'aeiou' else 'a'


def a(color):
    return f'{article(color)} {color}'


def noun(det, name):
    return f'{det} {name}' if det else name


def background(rng, text, color):
    """Adds 'on a blue background' to a phrase; color None adds nothing."""
    if color is None:
        return text
    r = rng.random()
    if r < .62:
        return f'{text} on {a(color)} background'
    if r < .74:
        return f'{text} on {color}'
    if r < .84:
        return f'{text} against {a(color)} background'
    if r < .92:
        return f'{text}, {color} background'
    return f'{a(color)} background with {text}'


def finish(rng, text, style):
    """Optional prefix, style words and punctuation."""
    if rng.random() < .12:
        text = rng.choice(PREFIXES) + text
    if style:
        text += rng.choice([f', {style} style', f' in {style} style',
                            f', {style}'])
    if rng.random() < .12:
        text += '.'
    if rng.random() < .15:
        text = text[0].upper() + text[1:]
    return text


def count(rng, n, plural):
    return f'{NUMBERS[n] if rng.random() < .85 else n} {plural}'


def relation(rng, a_text, b_text, where):
    """where: of A seen from B, one of left, right, above, below."""
    r = rng.random()
    if where in ('left', 'right'):
        other = 'right' if where == 'left' else 'left'
        if r < .55:
            return f'{a_text} to the {where} of {b_text}'
        if r < .75:
            return f'{a_text} {where} of {b_text}'
        if r < .9:
            return f'{a_text} on the {where} and {b_text} on the {other}'
        return f'{a_text} on the {where} of {b_text}'
    if where == 'above':
        if r < .75:
            return f'{a_text} above {b_text}'
        return f'{a_text} on top and {b_text} at the bottom'
    if r < .5:
        return f'{a_text} below {b_text}'
    if r < .75:
        return f'{a_text} under {b_text}'
    return f'{a_text} at the bottom and {b_text} on top'


def together(rng, a_text, b_text):
    """Two things side by side, order not said."""
    if rng.random() < .6:
        return f'{a_text} and {b_text}'
    return f'{a_text} next to {b_text}'


def landscape(rng, text, ground, sky, extra):
    sky_text = {'sunset': 'a sunset sky', 'night': 'a night sky'}.get(
        sky, f'{a(sky)} sky')
    on = 'in the ' if ground == 'grass' and rng.random() < .2 else 'on '
    out = text + ' ' + (on + ground)
    if rng.random() < .85:
        out += rng.choice([' under ', ' with ', ', ']) + sky_text
    if extra:
        out += ' and ' + extra
    return out
