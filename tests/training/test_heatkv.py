"""The Python schedule solver against published numbers and its own laws."""
import random
import unittest

from model.training import heatkv

SIDES_2B = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)
SIDES = (1, 2, 3, 4, 6, 8, 12, 16)


class HeatKvTest(unittest.TestCase):
    def test_quotas_of_infinity_2b_equal_the_published_ones(self):
        tokens = [n * n for n in SIDES_2B]
        want = {.1: {8: 159, 9: 297, 10: 385, 11: 435, 12: 463},
                .04: {6: 17, 7: 271, 8: 378, 9: 431, 10: 464, 11: 483,
                      12: 494}}
        for budget, expected in want.items():
            got = heatkv.quotas(tokens, 3, 512, budget)
            self.assertEqual({t: x for t, x in enumerate(got) if x}, expected)

    def test_a_budget_below_the_sinks_is_refused(self):
        with self.assertRaisesRegex(ValueError, '14 of 274'):
            heatkv.quotas([n * n for n in SIDES], 3, 80, .04)

    def test_stored_tokens_never_exceed_the_budget(self):
        tokens, rng = [n * n for n in SIDES], random.Random(4)
        for budget in (.08, .1, .2, .5):
            ranking = {}
            for s in range(3, 7):
                order = [(h, l) for l in range(8) for h in range(10)]
                rng.shuffle(order)
                ranking[s] = order
            removed = heatkv.solve(tokens, 3, 8, 10, ranking, budget)
            limit = budget * 80 * sum(tokens[:-1])
            for t in range(1, len(tokens)):
                kept = 80 * sum(tokens[:t]) - sum(
                    tokens[s] for s, _, _ in removed[t])
                self.assertLessEqual(kept, limit + 1e-9)
                self.assertLessEqual({a for a in removed[t - 1]},
                                     removed[t])

    def test_ranking_is_ascending_with_ties_by_head_then_layer(self):
        got = heatkv.rank({3: [[.2, .1], [.1, .1]]})
        self.assertEqual(got[3], [(0, 1), (1, 0), (1, 1), (0, 0)])


if __name__ == '__main__':
    unittest.main()
